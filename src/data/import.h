/* import.h: makes HDF5 files from files of other formats. What a format is stands in data/import_stream.h; which there
 * are, in the table of import.c.
 *
 * All imports: rows are streamed, so that memory does not grow with the source; the target appears whole or not at all,
 * with the same bytes whatever the number of ranks; of several processes that call at once one imports and the others
 * wait for it; where the target exists already nothing is done.
 *
 * An import that is ended by force leaves "<target>.partial" and "<target>.partial.journal". The same import, called
 * again with whatever number of ranks, goes on from there; where the sources, what is wanted of them or dptrain are
 * others it says so and begins anew. One that fails leaves neither. On file systems without locks nothing is kept. */
#ifndef DPT_DATA_IMPORT_H
#define DPT_DATA_IMPORT_H

#include <stdbool.h>

#include "backend/control.h"
#include "data/import_stream.h"

/* How far an import is, over all ranks (of the others: a second ago). */
typedef struct dpt_import_progress {
    int64_t rows, all_rows;          /* of all sources */
    int64_t bytes, all_bytes;        /* of values in the target */
    int64_t kept_rows, kept_bytes;   /* of rows and bytes: there from an import that was ended by force */
    const dpt_import_source *source; /* at hand on rank 0; NULL: it waits for others */
} dpt_import_progress;

/* All zero: this process alone, nobody told. */
typedef struct dpt_import_options {
    const dpt_control *control; /* ranks that import together; they need one folder that all of them see */
    void (*watch)(void *user, const dpt_import_progress *progress); /* on rank 0, after each MiB of it; NULL: nobody */
    void *user;
    bool every_piece; /* what is done is made durable every 4 MiB, not every 5 s; for tests */
} dpt_import_options;

/* Each source becomes one dataset; its format is known by its first bytes, else by the end of its name. Labels of
 * images have the attribute "classes", their names. The same result on all ranks. Collective over the ranks of
 * options->control.
 * DPT_ERR_IO: a file cannot be read or written (the system's reason). DPT_ERR_DATA: of no known format, damaged,
 * of no rows, with more or fewer than it declares, or changed meanwhile. DPT_ERR_CONFIG: a dataset without a proper
 * name, named twice or inside of another; a target that is a folder or lies in one that is imported.
 * DPT_ERR_UNSUPPORTED, DPT_ERR_CONFIG: also as data/import_stream.h. */
dpt_status dpt_import_files_with(const dpt_import_options *options, const dpt_import_source *sources, int count,
                                 const char *target);
/* The same by this process alone, nobody told. Local. */
dpt_status dpt_import_files(const dpt_import_source *sources, int count, const char *target);
/* "DATASET=FILE   which files": a line of help for each format that is read; NULL after the last. */
const char *dpt_import_example(int index);

/* Fashion-MNIST, from the four gzip files of Debian's dataset-fashion-mnist: /train/x [60000,1,28,28], /train/y,
 * /test/x [10000,1,28,28], /test/y. source_dir NULL: where that package puts them. Errors as above. Local. */
dpt_status dpt_import_fashion_mnist(const char *source_dir, const char *target);
/* Collective over the ranks of options->control. */
dpt_status dpt_import_fashion_mnist_with(const dpt_import_options *options, const char *source_dir, const char *target);
/* Whether all four files are there. */
bool dpt_import_fashion_mnist_available(const char *source_dir);

#endif
