/* host_memory.h: how much memory the host's processes can still take: what the kernel says is available, and what the
 * limits of the control groups around this process leave (a batch system's, a container's). */
#ifndef DPT_BACKEND_HOST_MEMORY_H
#define DPT_BACKEND_HOST_MEMORY_H

#include <stddef.h>

/* Bytes available and in all, after the tightest limit. root: where /proc and /sys/fs/cgroup lie, "" but in tests. What
 * cannot be read sets no limit. Local. */
void dpt_host_memory(const char *root, size_t *available, size_t *total);

#endif
