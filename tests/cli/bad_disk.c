/* bad_disk.c: preloaded, makes the reads of threads other than the first one what BAD_DISK says (those of HDF5 are the
 * first one's): "fail AFTER COUNT", after so many reads so many fail; "slow MS", each takes so much longer. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) ssize_t pread(int descriptor, void *out, size_t bytes, off_t offset) {
    static atomic_int calls;
    const char *what = getenv("BAD_DISK");
    int after, count, ms;
    if (what && syscall(SYS_gettid) != getpid()) {
        int call = atomic_fetch_add(&calls, 1);
        if (sscanf(what, "fail %d %d", &after, &count) == 2 && call >= after && call < after + count) {
            errno = EIO;
            return -1;
        }
        if (sscanf(what, "slow %d", &ms) == 1) nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
    }
    return syscall(SYS_pread64, descriptor, out, bytes, offset);
}
