/* import.h: makes HDF5 files from the IDX format (http://yann.lecun.com/exdb/mnist), plain or gzip: two zero bytes, a
 * type, the number of axes, their sizes as 32-bit big-endian numbers, the values.
 *
 * All imports: rows are streamed; the target appears whole or not at all; of several processes that call at once one
 * imports and the others wait for it; where the target exists already nothing is done. Local. */
#ifndef DPT_DATA_IMPORT_H
#define DPT_DATA_IMPORT_H

#include <stdbool.h>

#include "base/error.h"

typedef struct dpt_idx_source {
    const char *idx;     /* file */
    const char *dataset; /* path in the target */
} dpt_idx_source;

/* Each source becomes one dataset of unsigned bytes; images (3 axes) get a channel axis: [N,H,W] becomes [N,1,H,W].
 * DPT_ERR_IO: a file cannot be read or written (the system's reason). DPT_ERR_DATA: not IDX, truncated, or longer than
 * its header says, with both counts. DPT_ERR_UNSUPPORTED: values of another type than unsigned bytes. */
dpt_status dpt_import_idx(const dpt_idx_source *sources, int count, const char *target);

/* Fashion-MNIST, from the four gzip files of Debian's dataset-fashion-mnist: /train/x [60000,1,28,28], /train/y,
 * /test/x [10000,1,28,28], /test/y. source_dir NULL: where that package puts them. Errors as above. */
dpt_status dpt_import_fashion_mnist(const char *source_dir, const char *target);
/* Whether all four files are there. */
bool dpt_import_fashion_mnist_available(const char *source_dir);

#endif
