/* import_plan.h: what an import has to do: for each source its shape, its place in the target and the pieces that it is
 * read in. Made by one process from the opened sources; a run of bytes without pointers, so that it is sent to other
 * ranks and kept in the journal (data/import_journal.h) as it stands. Only numbers: names stay with the sources. */
#ifndef DPT_DATA_IMPORT_PLAN_H
#define DPT_DATA_IMPORT_PLAN_H

#include "data/import_stream.h"

typedef struct dpt_import_item {
    int64_t format; /* in the table of import.c */
    int64_t dtype, ndim, dim[DPT_MAX_NDIM + 1], row_bytes;
    int64_t in_order;
    int64_t offset;                /* of its values in the target; -1 until that is known */
    int64_t first_piece, pieces;   /* of it, in the whole plan */
    int64_t notes_at, notes_bytes; /* dpt_import_stream's; 0 bytes: none */
} dpt_import_item;

/* Pieces are about 4 MiB each and a function of the sources alone, so that an import can go on with another number of
 * ranks. */
typedef struct dpt_import_plan {
    char *bytes;
    int64_t size;
    /* in these bytes: */
    int64_t items, pieces;
    dpt_import_item *item;
    int64_t *piece_row; /* [pieces] the first row of each */
    char *notes;
} dpt_import_plan;

/* Of [count] open streams, and the format of each. Local.
 * DPT_ERR_DATA: a source without rows or values. DPT_ERR_MEMORY. On failure nothing needs closing. */
dpt_status dpt_import_plan_make(const dpt_import_source *source, const dpt_import_stream *stream, const int *format,
                                int count, dpt_import_plan *plan);
/* Looks at plan->bytes and size, which came from elsewhere, and sets the rest; false: they are no plan for so many
 * sources. Local. */
bool dpt_import_plan_read(dpt_import_plan *plan, int count, int formats);
void dpt_import_plan_close(dpt_import_plan *plan);

/* The source of a piece, its rows [*first, *end), and its bytes in the target. */
int64_t dpt_import_plan_item(const dpt_import_plan *plan, int64_t piece);
void dpt_import_plan_rows(const dpt_import_plan *plan, int64_t piece, int64_t *first, int64_t *end);
int64_t dpt_import_plan_bytes(const dpt_import_plan *plan, int64_t piece);

#endif
