/* fuzz.h: what reads files of others, each as one function of bytes, and small valid files to begin with. A program
 * holds one target (fuzz_target) and is one of two:
 *
 *   fuzz_<name>            always built; a ctest: a fixed number of changed seeds, the same in every run (fuzz_main.c)
 *   fuzz_<name>_libfuzzer  with DPTRAIN_FUZZ=ON, by clang: libFuzzer looks for inputs as long as it is let
 *
 * What a target must show: no crash, no finding of a sanitizer, no input that takes seconds; and a failure that says
 * something. */
#ifndef DPT_TESTS_FUZZ_H
#define DPT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "data/import_stream.h"

enum { FUZZ_BYTES_MAX = 1 << 16, FUZZ_SEEDS_MAX = 16 };

typedef struct fuzz_seeds {
    int count;
    size_t size[FUZZ_SEEDS_MAX];
    uint8_t *bytes[FUZZ_SEEDS_MAX];
} fuzz_seeds;

typedef struct fuzz_target {
    const char *name;
    int inputs; /* about a second */
    /* Never a failure of this function itself. */
    dpt_status (*run)(const uint8_t *bytes, size_t size);
    /* Adds valid files, which run accepts. */
    void (*seed)(fuzz_seeds *seeds);
    /* Makes checksums right again after a change, so that it reaches what stands behind them; NULL: there are none. */
    void (*mend)(uint8_t *bytes, size_t size);
    /* A shared library that is known to crash on damaged files: what ends inside it is counted and is no finding. */
    const char *fragile;
} fuzz_target;

extern const fuzz_target fuzz_this;

dpt_status dpt_fuzz_csv(const uint8_t *bytes, size_t size);
dpt_status dpt_fuzz_hdf5(const uint8_t *bytes, size_t size);
dpt_status dpt_fuzz_idx(const uint8_t *bytes, size_t size);
dpt_status dpt_fuzz_image(const uint8_t *bytes, size_t size);
dpt_status dpt_fuzz_npy(const uint8_t *bytes, size_t size);

/* Copies. */
void fuzz_add_seed(fuzz_seeds *seeds, const void *bytes, size_t size);
/* Adds a file's content. */
void fuzz_add_file(fuzz_seeds *seeds, const char *path);

/* A file with this content; the same one each time, removed at the end. */
const char *fuzz_file(const uint8_t *bytes, size_t size);
/* Opens the bytes as a stream and reads all rows, or as many as an import of a small file could have. */
dpt_status fuzz_read_stream(dpt_status (*open)(const dpt_import_source *, dpt_import_stream *), const char *part,
                            const uint8_t *bytes, size_t size);

#endif
