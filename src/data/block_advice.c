/* block_advice.c: see block_advice.h. A byte is read without waiting (RWF_NOWAIT): that it is there tells that the
 * block is; where it is not, or the file system cannot tell, the system is asked to begin reading. */
#include "data/block_advice.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "base/hash.h"

void dpt_block_advise(dpt_block_advice *advice, uint64_t round, int descriptor, uint64_t offset, uint64_t bytes) {
    const uint64_t key[] = {round, (uint64_t)descriptor, offset}, name = dpt_hash(key, sizeof key, 0) | 1;
    uint64_t *seen = &advice->seen[name / 2 % DPT_BLOCK_ADVICE_ROOM];
    if (*seen == name) return;
    *seen = name;
    char first;
    struct iovec one = {.iov_base = &first, .iov_len = 1};
    if (preadv2(descriptor, &one, 1, (off_t)offset, RWF_NOWAIT) == 1) return;
    posix_fadvise(descriptor, (off_t)offset, (off_t)bytes, POSIX_FADV_WILLNEED);
}
