/* node_memory.h: memory that the ranks of a host share: an unnamed file in memory, which is gone with the last process
 * that maps it, however that one ends; nothing is ever left in /dev/shm. Pages take memory when they are first used. */
#ifndef DPT_BACKEND_NODE_MEMORY_H
#define DPT_BACKEND_NODE_MEMORY_H

#include "backend/control.h"

typedef struct dpt_node_memory {
    unsigned char *data; /* NULL: none */
    uint64_t bytes;
    int descriptor;
} dpt_node_memory;

/* Memory of so many bytes, all zero, the same for all ranks of a host; bytes are those of its first rank. Every host
 * for itself: a failure is agreed on by its ranks and no others. Collective over all ranks.
 * DPT_ERR_MEMORY: the system gives none. DPT_ERR_UNSUPPORTED: a rank cannot see the first one's processes. */
dpt_status dpt_node_memory_open(const dpt_control *control, uint64_t bytes, dpt_node_memory *memory);
/* The same of this process's own. Local. */
dpt_status dpt_node_memory_open_own(uint64_t bytes, dpt_node_memory *memory);
void dpt_node_memory_close(dpt_node_memory *memory);

/* Has pages taken for a range, so that using it cannot fail later. Any thread. Local.
 * DPT_ERR_MEMORY: there are none. */
dpt_status dpt_node_memory_reserve(const dpt_node_memory *memory, uint64_t offset, uint64_t bytes);

#endif
