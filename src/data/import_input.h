/* import_input.h: a file of an import as a stream of bytes, plain or gzip, told apart by its first bytes. Local. */
#ifndef DPT_DATA_IMPORT_INPUT_H
#define DPT_DATA_IMPORT_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_import_input {
    const char *path; /* borrowed until it is closed */
    void *file;       /* NULL: closed */
} dpt_import_input;

/* DPT_ERR_IO: cannot be opened (the system's reason). On failure nothing needs closing. */
dpt_status dpt_import_input_open(dpt_import_input *input, const char *path);
/* Reads up to `bytes`; *got is fewer only where the stream ends. DPT_ERR_IO: cannot be read. DPT_ERR_DATA: the
 * compressed stream is damaged or ends early. */
dpt_status dpt_import_input_read(dpt_import_input *input, void *out, int64_t bytes, int64_t *got);
/* Goes to a byte: forwards, or back to the first one. Compressed streams are unpacked up to there. DPT_ERR_IO. */
dpt_status dpt_import_input_seek(dpt_import_input *input, int64_t byte);
/* Whether the stream is compressed. */
bool dpt_import_input_is_packed(dpt_import_input *input);
void dpt_import_input_close(dpt_import_input *input);

#endif
