/* data_rate_files.h: the files that data_rate.c reads: one dataset "x" each, of f32 in rows of `width` values, but for
 * the images, which are u8 [3,224,224]. */
#ifndef DATA_RATE_FILES_H
#define DATA_RATE_FILES_H

#include "data/dataset.h"

typedef enum rate_file {
    RATE_CONTIGUOUS,
    RATE_CHUNKED,
    RATE_CUT,
    RATE_DEFLATED,
    RATE_IMAGES,
    RATE_FILE_COUNT
} rate_file;

typedef struct rate_sizes {
    long mib;   /* of values; fewer where that takes long */
    long width; /* of a row of f32 */
} rate_sizes;

void rate_file_path(const char *folder, rate_file file, char *path, size_t bytes);
/* Writes the file where it is not there yet, and opens it; NULL: dpt_last_error(). */
dpt_dataset *rate_file_open(const char *path, rate_file file, const rate_sizes *sizes);
/* Reads all of it chunk by chunk with H5Dread. */
void rate_read_hdf5(const char *path);

#endif
