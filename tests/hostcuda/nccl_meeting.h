/* nccl_meeting.h: how the ranks of a new communicator find each other: whoever made the id collects what the others say
 * of themselves, and sends all of it to all. */
#ifndef HOSTCUDA_NCCL_MEETING_H
#define HOSTCUDA_NCCL_MEETING_H

#include "nccl_comm.h"

namespace hostnccl {

void make_id(ncclUniqueId *id);
bool is_id(const ncclUniqueId &id);

/* Fills in all of `on` but its rank. ncclInvalidUsage: ranks of different versions, or on this one's device;
 * ncclRemoteError: others have failed so. */
job make_meeting(const ranks_ref &on, const ncclUniqueId &id, int ranks, const char *pci);

}  // namespace hostnccl

#endif
