/* fuzz_npy.c: NPY, and NPZ archives as libzip writes them, stored and deflated. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include "fuzz.h"

dpt_status dpt_fuzz_npy(const uint8_t *bytes, size_t size) {
    return fuzz_read_stream(dpt_import_open_npy, NULL, bytes, size);
}

static size_t write_npy(uint8_t *to, int version, const char *header, size_t values) {
    const size_t length = strlen(header), head = version == 1 ? 10 : 12;
    memcpy(to, "\x93NUMPY", 6);
    to[6] = (uint8_t)version;
    memset(to + 7, 0, head - 7);
    to[8] = (uint8_t)length;
    memcpy(to + head, header, length);
    for (size_t i = 0; i < values; i++) to[head + length + i] = (uint8_t)(i * 5);
    return head + length + values;
}

static void add_npz(fuzz_seeds *seeds, int method, const uint8_t *npy, size_t size) {
    char path[] = "/tmp/dptrain-fuzz-XXXXXX";
    close(mkstemp(path));
    zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    if (archive == NULL) abort();
    const zip_int64_t at = zip_file_add(archive, "x.npy", zip_source_buffer(archive, npy, size, 0), 0);
    if (at < 0 || zip_set_file_compression(archive, (zip_uint64_t)at, method, 0) != 0 || zip_close(archive) != 0)
        abort();
    fuzz_add_file(seeds, path);
    unlink(path);
}

static void seed(fuzz_seeds *seeds) {
    static const struct {
        int version;
        const char *header;
        size_t values;
    } kind[] = {{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 3), }          \n", 72},
                {1, "{'descr': '>i2', 'fortran_order': False, 'shape': (5,), }\n", 10},
                {2, "{'shape': (2, 3, 4), 'fortran_order': True, 'descr': '|u1'}\n", 24},
                {3, "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 1), }\n", 24}};
    uint8_t npy[400];
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++) {
        const size_t size = write_npy(npy, kind[i].version, kind[i].header, kind[i].values);
        fuzz_add_seed(seeds, npy, size);
        if (i == 0) add_npz(seeds, ZIP_CM_STORE, npy, size);
        if (i == 0) add_npz(seeds, ZIP_CM_DEFLATE, npy, size);
    }
}

const fuzz_target fuzz_this = {.name = "npy", .inputs = 20000, .run = dpt_fuzz_npy, .seed = seed};
