/* import_journal.h: what of an import is done, in a file beside the half-made target, so that an import that was ended
 * by force goes on where it was. A head, the plan (data/import_plan.h), and a byte a piece: 1 where its rows are in the
 * target for good.
 *
 * Invariant: a piece is marked after its rows are durable; the journal is there whole or not at all. Local, all of it;
 * one process at a time has a journal open. */
#ifndef DPT_DATA_IMPORT_JOURNAL_H
#define DPT_DATA_IMPORT_JOURNAL_H

#include "data/import_plan.h"

typedef struct dpt_import_journal {
    int file; /* -1: none */
    int64_t marks_at;
} dpt_import_journal;

/* Writes a new one. request: a digest of what was asked for, of the sources too; target_bytes: the size of the
 * half-made target. DPT_ERR_IO. On failure nothing needs closing, and there is no journal. */
dpt_status dpt_import_journal_create(const char *path, uint64_t request, int64_t target_bytes,
                                     const dpt_import_plan *plan, dpt_import_journal *journal);
/* Opens the journal of such a request over `count` sources; marks [plan->pieces], released with dpt_free like the plan
 * with its close. *found false: there is none that can be gone on with, and why: what to say of it; NULL: no journal.
 * DPT_ERR_MEMORY. On failure, or where none is found, nothing needs closing. */
dpt_status dpt_import_journal_open(const char *path, uint64_t request, int64_t target_bytes, int count, int formats,
                                   dpt_import_journal *journal, dpt_import_plan *plan, uint8_t **marks, bool *found,
                                   const char **why);
dpt_status dpt_import_journal_mark(const dpt_import_journal *journal, const char *path, int64_t piece);
void dpt_import_journal_close(dpt_import_journal *journal);

#endif
