/* describe.h: what an HDF5 file holds, in words: every dataset that hard links lead to, its shape and how its values
 * are stored. Nothing of the values is read, and no other file is opened. */
#ifndef DPT_DATA_DESCRIBE_H
#define DPT_DATA_DESCRIBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_description {
    char *path;        /* "/train/x" */
    char shape[256];   /* "[60000,1,28,28]"; "[]": one value; "none": no values */
    char storage[400]; /* "chunks [32,1,28,28], shuffle, deflate 4" */
    int64_t rows;      /* along the first axis; -1: it has none */
    bool has_checksum; /* an attribute DPT_CHECKSUM_ATTRIBUTE (hdf5_output.h), which says: */
    uint64_t checksum;
    uint64_t stored_bytes;   /* that the values take in the file; 0 where they lie elsewhere */
    uint64_t declared_bytes; /* that they take in memory; UINT64_MAX: more than can be said */
} dpt_description;

/* In the order of their paths, and with them what is damaged so that it cannot be opened; the caller owns *datasets: dpt_describe_free. Local.
 * DPT_ERR_IO: the file cannot be opened (the system's reason). DPT_ERR_DATA: not an HDF5 file, truncated, damaged. */
dpt_status dpt_describe(const char *file, dpt_description **datasets, int64_t *count);
/* Takes NULL. */
void dpt_describe_free(dpt_description *datasets, int64_t count);

#endif
