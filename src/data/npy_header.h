/* npy_header.h: what stands before the values of a NumPy array in a file (numpy.lib.format): a magic, a version, the
 * length of a text and the text, a Python dictionary of three keys:
 *
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 784), }
 *
 * Messages name no file: the caller puts its name before them. */
#ifndef DPT_DATA_NPY_HEADER_H
#define DPT_DATA_NPY_HEADER_H

#include <stdbool.h>

#include "base/error.h"
#include "data/stored.h"

/* A text longer than this is refused; NumPy itself distrusts those above 10,000 bytes. */
enum { DPT_NPY_PREFIX_BYTES = 8, DPT_NPY_MAX_HEADER_BYTES = 1 << 16 };

typedef struct dpt_npy_header {
    dpt_stored stored;
    bool is_bool; /* stored as bytes of 0 and 1 */
    bool fortran_order;
    int ndim; /* rows included; at least 1 */
    int64_t dim[DPT_MAX_NDIM + 1];
    int64_t elements; /* of a row */
    int64_t bytes;    /* of all values, as stored */
} dpt_npy_header;

bool dpt_npy_is(const unsigned char *prefix, int64_t bytes);
/* How many bytes after the prefix hold the length of the text, little-endian: 2 or 4. Local.
 * DPT_ERR_UNSUPPORTED: a version other than 1.0, 2.0, 3.0. */
dpt_status dpt_npy_length_bytes(const unsigned char *prefix, int *bytes);

/* Reads the text: keys in any order, each once, and no others; quotes of either kind. Local.
 * DPT_ERR_DATA: anything else, an axis that is negative or 0, sizes beyond 63 bits, no axis of rows.
 * DPT_ERR_UNSUPPORTED: elements that are no numbers (Python objects, strings, structures, ...), more axes than 9. */
dpt_status dpt_npy_header_read(const char *text, int64_t bytes, dpt_npy_header *header);

#endif
