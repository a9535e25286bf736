/* fuzz_idx.c: IDX, plain and gzip. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "fuzz.h"

dpt_status dpt_fuzz_idx(const uint8_t *bytes, size_t size) {
    return fuzz_read_stream(dpt_import_open_idx, NULL, bytes, size);
}

static void add_gzip(fuzz_seeds *seeds, const void *bytes, size_t size) {
    uint8_t packed[400];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (unsigned)size, .next_out = packed};
    z.avail_out = sizeof packed;
    if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) abort();
    fuzz_add_seed(seeds, packed, z.total_out);
    deflateEnd(&z);
}

static void seed(fuzz_seeds *seeds) {
    static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 5, 1, 2, 3, 4, 5};
    uint8_t images[16 + 3 * 4 * 5] = {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5};
    for (int i = 16; i < (int)sizeof images; i++) images[i] = (uint8_t)(i * 7);
    fuzz_add_seed(seeds, labels, sizeof labels);
    fuzz_add_seed(seeds, images, sizeof images);
    add_gzip(seeds, labels, sizeof labels);
    add_gzip(seeds, images, sizeof images);
}

const fuzz_target fuzz_this = {.name = "idx", .inputs = 20000, .run = dpt_fuzz_idx, .seed = seed};
