/* bind.h: keeps a rank near its GPU: the CPUs of its threads, and where its memory comes from. */
#ifndef DPT_CLI_BIND_H
#define DPT_CLI_BIND_H

#include "dptrain/context.h"

/* Binds all threads of this process, those there are and those to come, to the rank's share of the CPUs near its GPU,
 * prefers memory of their NUMA node, and lowers the context's compute threads to the CPUs left. Does nothing where the
 * context has no such share: no GPU, its place not known, or bound by the launcher. What fails is said at debug level.
 * Collective: rank 0 says, at debug level, how many ranks were bound. DPT_ERR_PEER: MPI failed. */
dpt_status dpt_bind_near_device(dpt_context *context);

#endif
