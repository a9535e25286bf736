/* import_plan.c: see import_plan.h. The bytes: a head, the items, the pieces' rows, the notes. All of them are 64-bit
 * numbers but the notes, so nothing is padded. */
#include "data/import_plan.h"

#include <string.h>

#include "base/memory.h"

enum { PIECE_BYTES = 4 << 20 };

typedef struct plan_head {
    int64_t items, pieces, notes_bytes;
} plan_head;

static bool size_of(const plan_head *head, int64_t *size) {
    int64_t items, pieces;
    *size = (int64_t)sizeof *head;
    return head->items > 0 && head->pieces > 0 && head->notes_bytes >= 0 &&
           !__builtin_mul_overflow(head->items, (int64_t)sizeof(dpt_import_item), &items) &&
           !__builtin_mul_overflow(head->pieces, (int64_t)sizeof(int64_t), &pieces) &&
           !__builtin_add_overflow(*size, items, size) && !__builtin_add_overflow(*size, pieces, size) &&
           !__builtin_add_overflow(*size, head->notes_bytes, size);
}

static void set_pointers(dpt_import_plan *plan) {
    const plan_head *head = (const void *)plan->bytes;
    plan->items = head->items;
    plan->pieces = head->pieces;
    plan->item = (void *)(plan->bytes + sizeof *head);
    plan->piece_row = (void *)(plan->item + head->items);
    plan->notes = (void *)(plan->piece_row + head->pieces);
}

static int64_t rows_a_piece(const dpt_import_stream *stream) {
    return stream->row_bytes < PIECE_BYTES ? PIECE_BYTES / stream->row_bytes : 1;
}

static int64_t count_pieces(const dpt_import_stream *stream) {
    return stream->place ? stream->places : (stream->dim[0] - 1) / rows_a_piece(stream) + 1;
}

static void fill(const dpt_import_stream *stream, const int *format, dpt_import_plan *plan) {
    int64_t piece = 0, notes = 0;
    for (int64_t i = 0; i < plan->items; i++) {
        const dpt_import_stream *s = &stream[i];
        dpt_import_item *item = &plan->item[i];
        *item = (dpt_import_item){.format = format[i],
                                  .dtype = (int64_t)s->dtype,
                                  .ndim = s->ndim,
                                  .row_bytes = s->row_bytes,
                                  .in_order = s->in_order,
                                  .offset = -1,
                                  .first_piece = piece,
                                  .pieces = count_pieces(s),
                                  .notes_at = notes,
                                  .notes_bytes = s->notes_bytes};
        memcpy(item->dim, s->dim, (size_t)s->ndim * sizeof *s->dim);
        for (int64_t k = 0; k < item->pieces; k++)
            plan->piece_row[piece++] = s->place ? s->place[k].row : k * rows_a_piece(s);
        if (s->notes_bytes > 0) memcpy(plan->notes + notes, s->notes, (size_t)s->notes_bytes);
        notes += s->notes_bytes;
    }
}

dpt_status dpt_import_plan_make(const dpt_import_source *source, const dpt_import_stream *stream, const int *format,
                                int count, dpt_import_plan *plan) {
    plan_head head = {.items = count};
    *plan = (dpt_import_plan){0};
    for (int i = 0; i < count; i++) {
        const dpt_import_stream *s = &stream[i];
        int64_t all;
        DPT_CHECK(s->dim[0] > 0 && s->row_bytes > 0, DPT_ERR_DATA, "%s: holds no %s", source[i].file,
                  s->dim[0] > 0 ? "values" : "rows");
        DPT_CHECK(!__builtin_mul_overflow(s->dim[0], s->row_bytes, &all), DPT_ERR_DATA,
                  "%s: %lld rows of %lld bytes are more than 2^63 bytes", source[i].file, (long long)s->dim[0],
                  (long long)s->row_bytes);
        head.pieces += count_pieces(s);
        head.notes_bytes += s->notes_bytes;
    }
    size_of(&head, &plan->size);
    plan->bytes = dpt_alloc((size_t)plan->size);
    DPT_CHECK_ALLOC(plan->bytes);
    memcpy(plan->bytes, &head, sizeof head);
    set_pointers(plan);
    fill(stream, format, plan);
    return DPT_OK;
}

static bool is_item(const dpt_import_plan *plan, const dpt_import_item *item, int64_t first_piece, int64_t notes_end,
                    int formats) {
    int64_t all, end;
    if (item->format < 0 || item->format >= formats || item->dtype < 0 || item->dtype >= DPT_DTYPE_COUNT) return false;
    if (item->ndim < 1 || item->ndim > DPT_MAX_NDIM + 1 || item->dim[0] < 1 || item->row_bytes < 1) return false;
    if (item->first_piece != first_piece || item->pieces < 1 || item->pieces > plan->pieces - first_piece) return false;
    if (item->notes_at < 0 || item->notes_bytes < 0 || item->notes_at > notes_end - item->notes_bytes) return false;
    if (item->offset < 0 || __builtin_mul_overflow(item->dim[0], item->row_bytes, &all)) return false;
    const int64_t *row = plan->piece_row + first_piece;
    for (int64_t k = 0; k < item->pieces; k++)
        if (row[k] < 0 || row[k] >= item->dim[0] || (k == 0 ? row[0] != 0 : row[k] <= row[k - 1])) return false;
    return !__builtin_add_overflow(item->offset, all, &end);
}

bool dpt_import_plan_read(dpt_import_plan *plan, int count, int formats) {
    plan_head head;
    int64_t size, piece = 0;
    if (plan->size < (int64_t)sizeof head) return false;
    memcpy(&head, plan->bytes, sizeof head);
    if (!size_of(&head, &size) || size != plan->size || head.items != count) return false;
    set_pointers(plan);
    for (int64_t i = 0; i < head.items; piece += plan->item[i++].pieces)
        if (!is_item(plan, &plan->item[i], piece, head.notes_bytes, formats)) return false;
    return piece == head.pieces;
}

void dpt_import_plan_close(dpt_import_plan *plan) {
    dpt_free(plan->bytes);
    *plan = (dpt_import_plan){0};
}

int64_t dpt_import_plan_item(const dpt_import_plan *plan, int64_t piece) {
    int64_t low = 0, high = plan->items - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (plan->item[middle].first_piece <= piece)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

void dpt_import_plan_rows(const dpt_import_plan *plan, int64_t piece, int64_t *first, int64_t *end) {
    const dpt_import_item *item = &plan->item[dpt_import_plan_item(plan, piece)];
    const bool last = piece == item->first_piece + item->pieces - 1;
    *first = plan->piece_row[piece];
    *end = last ? item->dim[0] : plan->piece_row[piece + 1];
}

int64_t dpt_import_plan_bytes(const dpt_import_plan *plan, int64_t piece) {
    int64_t first, end;
    dpt_import_plan_rows(plan, piece, &first, &end);
    return (end - first) * plan->item[dpt_import_plan_item(plan, piece)].row_bytes;
}
