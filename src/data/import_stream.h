/* import_stream.h: one source of an import as a stream of rows, whatever its format. A format is a function that opens
 * a source and fills in the rest; import.c asks for rows until all have come and writes them. */
#ifndef DPT_DATA_IMPORT_STREAM_H
#define DPT_DATA_IMPORT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dptrain/types.h"

/* What is wanted: "FILE" or "FILE#PART" of the command line. */
typedef struct dpt_import_source {
    const char *dataset; /* path in the target */
    const char *file;    /* or folder */
    const char *part;    /* of the file: columns, an array's name, "images" or "labels"; NULL: not said */
} dpt_import_source;

/* Where in a text a row begins. */
typedef struct dpt_import_place {
    int64_t row, byte, line; /* line from 1 */
} dpt_import_place;

typedef struct dpt_import_stream dpt_import_stream;
struct dpt_import_stream {
    dpt_dtype dtype; /* as it is written */
    int ndim;        /* rows included */
    int64_t dim[DPT_MAX_NDIM + 1];
    int64_t row_bytes;
    /* The next rows, up to `rows`; *got is fewer only at the end. Messages name the file and the place in it. */
    dpt_status (*read)(dpt_import_stream *stream, int64_t rows, void *out, int64_t *got);
    /* Goes forward to a row, one of `place` where there are places. */
    dpt_status (*seek)(dpt_import_stream *stream, int64_t row);
    void (*close)(dpt_import_stream *stream);
    void *state;
    bool in_order;                 /* going forward reads what is passed over (it is compressed) */
    const dpt_import_place *place; /* rows that seek can go to, ascending from row 0; NULL: all. Borrowed */
    int64_t places;
    /* What opening found at the cost of reading all of the source, for opening it again; NULL: nothing. Borrowed. */
    const void *notes;
    int64_t notes_bytes;
    char *const *class_name; /* [classes] of labels; NULL: they have no names. Borrowed */
    int64_t classes;
};

/* One a format. On failure nothing needs closing. All checks that need no value are made here. Local.
 * DPT_ERR_IO: cannot be opened or read (the system's reason). DPT_ERR_DATA: damaged, or not of the format.
 * DPT_ERR_UNSUPPORTED: of a kind that is not read. DPT_ERR_CONFIG: the part is not there (those there are are named).
 */
dpt_status dpt_import_open_idx(const dpt_import_source *source, dpt_import_stream *stream);
dpt_status dpt_import_open_table(const dpt_import_source *source, dpt_import_stream *stream);  /* CSV, TSV */
dpt_status dpt_import_open_npy(const dpt_import_source *source, dpt_import_stream *stream);    /* NPY, NPZ */
dpt_status dpt_import_open_images(const dpt_import_source *source, dpt_import_stream *stream); /* PNG, JPEG */

/* Opens a source that was opened before, with the notes of that stream: no pass over the source, and nothing is logged.
 * Notes are copied. Local. DPT_ERR_DATA also: notes that are not of this format. */
dpt_status dpt_import_reopen_table(const dpt_import_source *source, const void *notes, int64_t bytes,
                                   dpt_import_stream *stream);
dpt_status dpt_import_reopen_images(const dpt_import_source *source, const void *notes, int64_t bytes,
                                    dpt_import_stream *stream);

#endif
