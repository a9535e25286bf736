/* content.c: see content.h. The same places are noted many times: when the array is full they are joined first, and it
 * grows only if that leaves it more than half full. */
#include "data/content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/memory.h"

enum { FIRST_CAPACITY = 256, BUFFER_BYTES = 256 << 10 };

static int by_offset(const void *a, const void *b) {
    uint64_t x = ((const dpt_extent *)a)->offset, y = ((const dpt_extent *)b)->offset;
    return (x > y) - (x < y);
}

void dpt_content_settle(dpt_content *c, uint64_t file_bytes) {
    int64_t kept = 0;
    if (c->extents > 0) qsort(c->extent, (size_t)c->extents, sizeof *c->extent, by_offset);
    for (int64_t i = 0; i < c->extents; i++) {
        dpt_extent e = c->extent[i], *last = kept > 0 ? &c->extent[kept - 1] : NULL;
        if (e.offset >= file_bytes) break;
        if (e.bytes > file_bytes - e.offset) e.bytes = file_bytes - e.offset;
        if (last == NULL || e.offset > last->offset + last->bytes)
            c->extent[kept++] = e;
        else if (e.offset + e.bytes > last->offset + last->bytes)
            last->bytes = e.offset + e.bytes - last->offset;
    }
    c->extents = kept;
}

static bool make_room(dpt_content *c) {
    dpt_content_settle(c, UINT64_MAX);
    if (c->capacity > 0 && c->extents <= c->capacity / 2) return true;
    int64_t capacity = c->capacity > 0 ? 2 * c->capacity : FIRST_CAPACITY;
    dpt_extent *more = dpt_realloc(c->extent, (size_t)capacity, sizeof *more);
    if (more == NULL) return false;
    c->extent = more;
    c->capacity = capacity;
    return true;
}

bool dpt_content_note(dpt_content *c, uint64_t offset, uint64_t bytes) {
    if (bytes == 0) return true;
    if (c->extents == c->capacity && !make_room(c)) return false;
    c->extent[c->extents++] = (dpt_extent){offset, bytes};
    return true;
}

static dpt_status add_extent(const dpt_extent *e, int descriptor, char *buffer, dpt_checksum *sum) {
    for (uint64_t at = 0; at < e->bytes;) {
        uint64_t left = e->bytes - at;
        ssize_t n = pread(descriptor, buffer, left < BUFFER_BYTES ? left : BUFFER_BYTES, (off_t)(e->offset + at));
        if (n < 0 && errno == EINTR) continue;
        DPT_CHECK(n >= 0, DPT_ERR_IO, "%s", strerror(errno));
        DPT_CHECK(n > 0, DPT_ERR_IO, "ends early");
        dpt_checksum_add(sum, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    return DPT_OK;
}

dpt_status dpt_content_digest(const dpt_content *c, int descriptor, uint64_t *digest) {
    dpt_checksum sum;
    char *buffer = dpt_alloc(BUFFER_BYTES);
    DPT_CHECK_ALLOC(buffer);
    dpt_status status = DPT_OK;
    dpt_checksum_begin(&sum);
    for (int64_t i = 0; i < c->extents && status == DPT_OK; i++) {
        dpt_checksum_add(&sum, &c->extent[i], sizeof c->extent[i]);
        status = add_extent(&c->extent[i], descriptor, buffer, &sum);
    }
    dpt_free(buffer);
    *digest = dpt_checksum_value(&sum);
    return status;
}

dpt_status dpt_file_checksum(const char *path, const dpt_extent *extent, uint64_t *checksum) {
    struct stat about;
    dpt_checksum sum;
    char *buffer = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    DPT_CHECK(descriptor >= 0, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    dpt_status status;
    DPT_CHECK_GOTO(fstat(descriptor, &about) == 0, fail, DPT_ERR_IO, "%s", strerror(errno));
    buffer = dpt_alloc(BUFFER_BYTES);
    DPT_CHECK_ALLOC_GOTO(buffer, fail);
    dpt_checksum_begin(&sum);
    const dpt_extent all = {0, (uint64_t)about.st_size};
    DPT_TRY_GOTO(add_extent(extent ? extent : &all, descriptor, buffer, &sum), fail);
    *checksum = dpt_checksum_value(&sum);
fail:
    close(descriptor);
    dpt_free(buffer);
    return status == DPT_ERR_IO ? dpt_error_prefix(status, "%s: ", path) : status;
}

void dpt_content_free(dpt_content *c) {
    dpt_free(c->extent);
    *c = (dpt_content){0};
}
