/* import_work.h: the ranks of an import convert the pieces of a plan and write them to the half-made target, each its
 * share, in rounds of about a second. A round ends with an exchange: a failure of one is a failure of all, rank 0
 * learns what is done and marks it in the journal. */
#ifndef DPT_DATA_IMPORT_WORK_H
#define DPT_DATA_IMPORT_WORK_H

#include "backend/control.h"
#include "data/import.h"
#include "data/import_journal.h"
#include "data/import_plan.h"

typedef struct dpt_import_work {
    const dpt_control *control;
    const dpt_import_options *options;
    const dpt_import_source *source; /* [plan->items] */
    const char *target;              /* for messages */
    const dpt_import_plan *plan;
    const uint8_t *marks; /* [plan->pieces] 1: done before */
    int file;             /* the half-made target */
    /* rank 0: */
    const dpt_import_journal *journal; /* NULL: none is kept */
    const char *journal_path;
} dpt_import_work;

/* Opens source `item` of the plan again. Of import.c, which knows the formats. */
dpt_status dpt_import_reopen(const dpt_import_work *work, int64_t item, dpt_import_stream *stream);

/* All pieces that are not marked. The same failure on all ranks: DPT_ERR_IO: the target cannot be written; those of the
 * streams; DPT_ERR_DATA: a source that ends early. Collective. */
dpt_status dpt_import_work_run(const dpt_import_work *work);

#endif
