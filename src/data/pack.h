/* pack.h: many HDF5 files into one or a few, in the layout that is asked for.
 *
 *   dpt_pack_options options = {.layout = {.chunk_rows = 64, .deflate = 4, .shuffle = true}};
 *   DPT_TRY(dpt_pack(control, files, file_count, &options, "packed.h5")); */
#ifndef DPT_DATA_PACK_H
#define DPT_DATA_PACK_H

#include "backend/control.h"
#include "data/hdf5_output.h"

enum { DPT_PACK_CHUNK_AUTO = -1, DPT_PACK_MAX_FILES = 10000 };

typedef struct dpt_pack_options {
    dpt_hdf5_layout layout; /* chunk_rows may be DPT_PACK_CHUNK_AUTO: about 1 MiB of rows */
    int files; /* 0: one, target itself; else so many, which share the rows of every dataset, and a manifest */
} dpt_pack_options;

/* Writes the datasets of all files, continued from file to file in the order given, with their paths and types; other
 * things in the files (attributes, empty groups, links) are not carried over; each dataset gets the checksum of its
 * values (hdf5_output.h). All files hold the same datasets; those
 * of one group that have as many rows as each other in the first file are taken as fields of the same samples, and must
 * agree in every file. Rows are streamed. A target that exists already is refused; where it cannot be made nothing is
 * left behind. control: of one rank. Local.
 * DPT_ERR_CONFIG: a target exists, a level or number outside its range, fewer samples than files. DPT_ERR_UNSUPPORTED:
 * chunks above 64 MiB (says how many rows fit). DPT_ERR_DATA: a dataset that is not in all files, or nothing to pack.
 * DPT_ERR_IO: a target cannot be written. Those of dpt_dataset_open and dpt_dataset_read. */
dpt_status dpt_pack(const dpt_control *control, const char *const *files, int file_count,
                    const dpt_pack_options *options, const char *target);

/* The name of the manifest (manifest.h) of several files: "packed.manifest" for "packed.h5". Caller owns it; NULL: out
 * of memory. Local. */
char *dpt_pack_manifest_name(const char *target);
/* The name of file i of `files`: "packed-03.h5" for "packed.h5"; target itself where files is 0. Caller owns it; NULL:
 * out of memory. Local. */
char *dpt_pack_name(const char *target, int i, int files);

#endif
