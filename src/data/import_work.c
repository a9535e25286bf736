/* import_work.c: see import_work.h. Who converts which piece is a function of the plan, the marks and the number of
 * ranks, the same on all of them: a source that can only be read in order goes to one rank, the other pieces are shared
 * out by bytes, as runs of neighbours.
 *
 * Writing back to the disk is begun after each piece, so that the wait for it at the end of every few rounds is short.
 */
#include "data/import_work.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum { STEP_BYTES = 1 << 20, ROUNDS_TO_SYNC = 5 };
static const double round_s = 1;

/* What a rank tells the others after a round: of its pieces, from the first. */
typedef struct round_report {
    int64_t written, synced, rows, bytes;
    int64_t ended;
} round_report;

typedef struct work_share {
    int64_t *piece; /* [pieces left to do] grouped by rank */
    int64_t *first; /* [world + 1] of a rank's, in `piece` */
} work_share;

typedef struct worker {
    const dpt_import_work *work;
    work_share share;
    int64_t item;             /* the open source; -1: none */
    int64_t row;              /* it stands at */
    dpt_import_stream stream; /* of it */
    char *step;               /* rows on their way */
    int64_t step_bytes;
    round_report own, *all; /* all: [world] of the last round */
    int64_t *marked;        /* [world] rank 0: of each rank's pieces */
    dpt_import_progress progress;
} worker;

/* ---- who does what ---- */

/* What is left to do of some pieces. */
static int64_t bytes_left(const dpt_import_work *work, int64_t first, int64_t count) {
    int64_t bytes = 0;
    for (int64_t p = first; p < first + count; p++)
        if (!work->marks[p]) bytes += dpt_import_plan_bytes(work->plan, p);
    return bytes;
}

/* load: [world] bytes of each rank; owner: [pieces]. */
static void deal_in_order(const dpt_import_work *work, int64_t *load, int32_t *owner) {
    for (int64_t i = 0; i < work->plan->items; i++) {
        const dpt_import_item *item = &work->plan->item[i];
        int32_t least = 0;
        if (!item->in_order) continue;
        for (int32_t r = 1; r < work->control->world; r++)
            if (load[r] < load[least]) least = r;
        load[least] += bytes_left(work, item->first_piece, item->pieces);
        for (int64_t p = item->first_piece; p < item->first_piece + item->pieces; p++) owner[p] = least;
    }
}

static void deal_freely(const dpt_import_work *work, int64_t *load, int32_t *owner) {
    const int32_t world = work->control->world;
    const int64_t even = bytes_left(work, 0, work->plan->pieces) / world + 1;
    int32_t rank = 0;
    for (int64_t p = 0; p < work->plan->pieces; p++) {
        if (work->marks[p] || work->plan->item[dpt_import_plan_item(work->plan, p)].in_order) continue;
        while (rank < world - 1 && load[rank] >= even) rank++;
        load[rank] += dpt_import_plan_bytes(work->plan, p);
        owner[p] = rank;
    }
}

/* The pieces that are left, by rank. */
static void group(const dpt_import_work *work, const int32_t *owner, work_share *share) {
    const int64_t pieces = work->plan->pieces;
    const int world = work->control->world;
    for (int64_t p = 0; p < pieces; p++)
        if (!work->marks[p]) share->first[owner[p] + 1]++;
    for (int r = 0; r < world; r++) share->first[r + 1] += share->first[r];
    for (int64_t p = 0; p < pieces; p++)
        if (!work->marks[p]) share->piece[share->first[owner[p]]++] = p;
    for (int r = world; r > 0; r--) share->first[r] = share->first[r - 1];
    share->first[0] = 0;
}

static dpt_status make_share(const dpt_import_work *work, work_share *share) {
    const size_t pieces = (size_t)work->plan->pieces, world = (size_t)work->control->world;
    share->piece = dpt_alloc_zero(pieces, sizeof *share->piece);
    share->first = dpt_alloc_zero(world + 1, sizeof *share->first);
    int64_t *load = dpt_alloc_zero(world, sizeof *load);
    int32_t *owner = dpt_alloc_zero(pieces, sizeof *owner);
    const bool room = share->piece && share->first && load && owner;
    if (room) {
        deal_in_order(work, load, owner);
        deal_freely(work, load, owner);
        group(work, owner, share);
    }
    dpt_free(load);
    dpt_free(owner);
    return room ? DPT_OK : DPT_ERR_MEMORY;
}

/* ---- one piece ---- */

static dpt_status write_failed(const worker *w, int64_t row, int64_t rows) {
    const char *reason = strerror(errno), *dataset = w->work->source[w->item].dataset;
    return dpt_error(DPT_ERR_IO, "%s cannot be written: %s: rows %lld to %lld: %s", w->work->target, dataset,
                     (long long)row, (long long)(row + rows - 1), reason);
}

static dpt_status write_rows(const worker *w, int64_t row, int64_t rows) {
    const dpt_import_item *item = &w->work->plan->item[w->item];
    const int64_t bytes = rows * item->row_bytes, at = item->offset + row * item->row_bytes;
    for (int64_t done = 0; done < bytes;) {
        const ssize_t n = pwrite(w->work->file, w->step + done, (size_t)(bytes - done), (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENOSPC;
        if (n <= 0) return write_failed(w, row, rows);
        done += n;
    }
    return DPT_OK;
}

static void close_item(worker *w) {
    if (w->item >= 0) w->stream.close(&w->stream);
    w->item = -1;
}

static dpt_status open_item(worker *w, int64_t item) {
    if (w->item == item) return DPT_OK;
    close_item(w);
    const int64_t row_bytes = w->work->plan->item[item].row_bytes;
    const int64_t bytes = row_bytes < STEP_BYTES ? STEP_BYTES : row_bytes;
    if (bytes > w->step_bytes) {
        dpt_free(w->step);
        w->step_bytes = 0;
        w->step = dpt_alloc((size_t)bytes);
        DPT_CHECK_ALLOC(w->step);
        w->step_bytes = bytes;
    }
    DPT_TRY(dpt_import_reopen(w->work, item, &w->stream));
    w->item = item;
    w->row = 0;
    return DPT_OK;
}

static void tell(worker *w) {
    const dpt_import_work *work = w->work;
    if (work->control->rank != 0 || work->options->watch == NULL) return;
    dpt_import_progress now = w->progress;
    now.source = w->item >= 0 ? &work->source[w->item] : NULL;
    now.rows += w->own.rows;
    now.bytes += w->own.bytes;
    for (int r = 1; r < work->control->world; r++) {
        now.rows += w->all[r].rows;
        now.bytes += w->all[r].bytes;
    }
    work->options->watch(work->options->user, &now);
}

static dpt_status convert_piece(worker *w, int64_t piece) {
    const dpt_import_plan *plan = w->work->plan;
    const int64_t index = dpt_import_plan_item(plan, piece);
    const dpt_import_item *item = &plan->item[index];
    const int64_t most = item->row_bytes < STEP_BYTES ? STEP_BYTES / item->row_bytes : 1;
    int64_t row, end, got;
    dpt_import_plan_rows(plan, piece, &row, &end);
    DPT_TRY(open_item(w, index));
    if (w->row != row) DPT_TRY(w->stream.seek(&w->stream, row));
    for (; row < end; row += got) {
        const int64_t n = end - row < most ? end - row : most;
        DPT_TRY(w->stream.read(&w->stream, n, w->step, &got));
        DPT_CHECK(got == n, DPT_ERR_DATA, "%s: ends after %lld of its %lld rows; was it changed meanwhile?",
                  w->work->source[index].file, (long long)(row + got), (long long)item->dim[0]);
        DPT_TRY(write_rows(w, row, n));
        w->own.rows += n;
        w->own.bytes += n * item->row_bytes;
        tell(w);
    }
    w->row = end;
    const int64_t bytes = dpt_import_plan_bytes(plan, piece);
    (void)sync_file_range(w->work->file, (off_t)(item->offset + end * item->row_bytes - bytes), (off_t)bytes,
                          SYNC_FILE_RANGE_WRITE);
    return DPT_OK;
}

/* ---- rounds ---- */

static dpt_status sync_target(worker *w) {
    if (w->own.synced == w->own.written) return DPT_OK;
    DPT_CHECK(fdatasync(w->work->file) == 0, DPT_ERR_IO, "%s cannot be written: %s", w->work->target, strerror(errno));
    w->own.synced = w->own.written;
    return DPT_OK;
}

static dpt_status work_round(worker *w, int64_t round) {
    const dpt_import_work *work = w->work;
    const int64_t *first = w->share.first + work->control->rank, count = first[1] - first[0];
    const bool every_piece = work->options->every_piece;
    const double end_s = dpt_clock_s() + round_s;
    while (w->own.written < count) {
        DPT_TRY(convert_piece(w, w->share.piece[first[0] + w->own.written]));
        w->own.written++;
        if (every_piece || dpt_clock_s() >= end_s) break;
    }
    const bool last = w->own.written == count;
    if (last) close_item(w);
    if (last || every_piece || round % ROUNDS_TO_SYNC == 0) DPT_TRY(sync_target(w));
    w->own.ended = last;
    return DPT_OK;
}

static dpt_status mark(worker *w) {
    const dpt_import_work *work = w->work;
    if (work->control->rank != 0 || work->journal == NULL) return DPT_OK;
    for (int r = 0; r < work->control->world; r++)
        for (; w->marked[r] < w->all[r].synced; w->marked[r]++) {
            const int64_t piece = w->share.piece[w->share.first[r] + w->marked[r]];
            DPT_TRY(dpt_import_journal_mark(work->journal, work->journal_path, piece));
        }
    return DPT_OK;
}

static dpt_status exchange(worker *w) {
    const dpt_control *control = w->work->control;
    if (control->world == 1) {
        w->all[0] = w->own;
        return DPT_OK;
    }
    return dpt_control_gather(control, &w->own, sizeof w->own, w->all);
}

static dpt_status run_rounds(worker *w) {
    const dpt_control *control = w->work->control;
    for (int64_t round = 1;; round++) {
        DPT_TRY(dpt_control_agree(control, work_round(w, round)));
        DPT_TRY(exchange(w));
        DPT_TRY(dpt_control_agree(control, mark(w)));
        if (control->world > 1) tell(w);
        int ended = 0;
        for (int r = 0; r < control->world; r++) ended += w->all[r].ended != 0;
        if (ended == control->world) return DPT_OK;
    }
}

static void count_rows(worker *w) {
    const dpt_import_plan *plan = w->work->plan;
    for (int64_t p = 0; p < plan->pieces; p++) {
        int64_t first, end, bytes = dpt_import_plan_bytes(plan, p);
        dpt_import_plan_rows(plan, p, &first, &end);
        w->progress.all_rows += end - first;
        w->progress.all_bytes += bytes;
        if (!w->work->marks[p]) continue;
        w->progress.rows += end - first;
        w->progress.bytes += bytes;
    }
    w->progress.kept_rows = w->progress.rows;
    w->progress.kept_bytes = w->progress.bytes;
}

dpt_status dpt_import_work_run(const dpt_import_work *work) {
    const size_t world = (size_t)work->control->world;
    worker w = {.work = work, .item = -1};
    dpt_status status = make_share(work, &w.share);
    w.all = dpt_alloc_zero(world, sizeof *w.all);
    w.marked = dpt_alloc_zero(world, sizeof *w.marked);
    if (w.all == NULL || w.marked == NULL) status = DPT_ERR_MEMORY;
    status = dpt_control_agree(work->control, status);
    if (status == DPT_OK) {
        count_rows(&w);
        status = run_rounds(&w);
    }
    close_item(&w);
    dpt_free(w.step);
    dpt_free(w.share.piece);
    dpt_free(w.share.first);
    dpt_free(w.all);
    dpt_free(w.marked);
    return status;
}
