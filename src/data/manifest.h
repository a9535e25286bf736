/* manifest.h: a list of HDF5 files that belong together, and what each of them must be. A text of these lines:
 *
 *   dptrain manifest 1
 *   10000,60000 54960832 9a0c1f00d2b3c4e5 part-0.h5
 *   10000,60000 54960840 00aa11bb22cc33dd part-1.h5
 *   end 2
 *
 * A line a file: the numbers of rows that its datasets have (each different one once, rising; "-": none has rows), its
 * bytes, the XXH64 of all of them in 16 digits (as xxh64sum prints it), its name, relative to the manifest's folder.
 * The last line says how many files there are, so that a manifest that was cut short is noticed.
 *
 * All functions are local. */
#ifndef DPT_DATA_MANIFEST_H
#define DPT_DATA_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_manifest_file {
    char *path; /* the name behind the manifest's folder */
    uint64_t *rows;
    int64_t row_counts;
    uint64_t bytes, checksum;
    int64_t line; /* of the manifest, from 1 */
} dpt_manifest_file;

typedef struct dpt_manifest {
    dpt_manifest_file *file;
    int64_t count, capacity;
} dpt_manifest;

/* Whether a file begins as a manifest does, of whatever version. false also for what cannot be read. */
bool dpt_manifest_is(const char *path);
/* Takes an empty manifest ({0}). DPT_ERR_DATA: what is wrong, with the manifest's name and the line. DPT_ERR_IO: it
 * cannot be read. On failure nothing needs freeing. */
dpt_status dpt_manifest_read(const char *path, dpt_manifest *manifest);
void dpt_manifest_free(dpt_manifest *manifest);

/* Reads all of the files and writes the manifest of them, whole or not at all, replacing what stood there. Names are
 * written relative to its folder where the files lie there or below.
 * DPT_ERR_DATA: a file that is not HDF5, a name with a line break. DPT_ERR_IO: a file cannot be read, the manifest
 * cannot be written. */
dpt_status dpt_manifest_write(const char *path, const char *const *files, int64_t count);

/* The different numbers of rows that the datasets of an HDF5 file have, rising; the caller owns *rows: dpt_free. Errors
 * as dpt_describe. */
dpt_status dpt_manifest_rows(const char *file, uint64_t **rows, int64_t *count);

#endif
