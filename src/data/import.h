/* import.h: makes HDF5 files from files of other formats. What a format is stands in data/import_stream.h; which there
 * are, in the table of import.c.
 *
 * All imports: rows are streamed, so that memory does not grow with the source; the target appears whole or not at all;
 * of several processes that call at once one imports and the others wait for it; where the target exists already
 * nothing is done. Local. */
#ifndef DPT_DATA_IMPORT_H
#define DPT_DATA_IMPORT_H

#include <stdbool.h>

#include "data/import_stream.h"

/* Told after each piece that is written: `done` of the `rows` of this source. */
typedef struct dpt_import_watch {
    void (*rows)(void *user, const dpt_import_source *source, int64_t done, int64_t rows);
    void *user;
} dpt_import_watch;

/* Each source becomes one dataset; its format is known by its first bytes, else by the end of its name.
 * watch NULL: nobody is told.
 * DPT_ERR_IO: a file cannot be read or written (the system's reason). DPT_ERR_DATA: of no known format, damaged,
 * of no rows, or with more or fewer than it declares. DPT_ERR_UNSUPPORTED, DPT_ERR_CONFIG: as data/import_stream.h. */
dpt_status dpt_import_files_watched(const dpt_import_source *sources, int count, const char *target,
                                    const dpt_import_watch *watch);
/* The same, nobody told. */
dpt_status dpt_import_files(const dpt_import_source *sources, int count, const char *target);
/* "DATASET=FILE   which files": a line of help for each format that is read; NULL after the last. */
const char *dpt_import_example(int index);

/* Fashion-MNIST, from the four gzip files of Debian's dataset-fashion-mnist: /train/x [60000,1,28,28], /train/y,
 * /test/x [10000,1,28,28], /test/y. source_dir NULL: where that package puts them. Errors as above. */
dpt_status dpt_import_fashion_mnist(const char *source_dir, const char *target);
/* Whether all four files are there. */
bool dpt_import_fashion_mnist_available(const char *source_dir);

#endif
