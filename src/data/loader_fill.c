/* loader_fill.c: see loader_fill.h. Consecutive samples are read together, up to RUN_BYTES: in the order of the files
 * that makes few large reads, in a random one nearly always one row each. */
#include "data/loader_fill.h"

#include <string.h>

#include "base/memory.h"

enum { RUN_BYTES = 256 << 10, ALIGNMENT = 64 };

static uint64_t stored_row_bytes(const dpt_field *field) {
    return (uint64_t)field->elements * dpt_dtype_size(field->stored);
}

dpt_status dpt_fill_plan_create(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_fill_plan *plan) {
    *plan = (dpt_fill_plan){.dataset = dataset,
                            .order = dpt_order_create(dpt_dataset_rows(dataset), options->seed),
                            .shuffle = options->shuffle,
                            .global_batch = options->global_batch,
                            .capacity = options->capacity,
                            .rank = options->rank,
                            .world = options->world,
                            .raw_bytes = RUN_BYTES};
    int fields = dpt_dataset_field_count(dataset);
    plan->convert = dpt_alloc_zero((size_t)fields, sizeof *plan->convert);
    DPT_CHECK_ALLOC(plan->convert);
    plan->fields = fields;
    for (int i = 0; i < fields; i++) {
        const dpt_field *field = dpt_dataset_field(dataset, i);
        const dpt_normalise *normalise = options->normalise ? &options->normalise[i] : NULL;
        if (stored_row_bytes(field) > plan->raw_bytes) plan->raw_bytes = stored_row_bytes(field);
        DPT_TRY(dpt_convert_create(field, normalise, &plan->convert[i]));
    }
    return DPT_OK;
}

void dpt_fill_plan_destroy(dpt_fill_plan *plan) {
    for (int i = 0; i < plan->fields; i++) dpt_convert_destroy(&plan->convert[i]);
    dpt_free(plan->convert);
    plan->convert = NULL;
    plan->fields = 0;
}

static dpt_status create_array(const dpt_fill_plan *plan, int i, dpt_array *array) {
    const dpt_field *field = dpt_dataset_field(plan->dataset, i);
    uint64_t bytes;
    bool over = __builtin_mul_overflow((uint64_t)plan->capacity, (uint64_t)field->elements, &bytes) ||
                __builtin_mul_overflow(bytes, dpt_dtype_size(field->dtype), &bytes);
    DPT_CHECK(!over, DPT_ERR_MEMORY, "input \"%s\": %lld rows of %lld elements", field->name, (long long)plan->capacity,
              (long long)field->elements);
    void *data = dpt_alloc_aligned(bytes, ALIGNMENT);
    DPT_CHECK_ALLOC(data);
    memset(data, 0, bytes);
    *array = (dpt_array){.name = field->name, .data = data, .dtype = field->dtype, .place = DPT_HOST};
    return DPT_OK;
}

dpt_status dpt_slot_create(const dpt_fill_plan *plan, dpt_slot *slot) {
    *slot = (dpt_slot){.status = DPT_OK};
    slot->array = dpt_alloc_zero((size_t)plan->fields, sizeof *slot->array);
    slot->sample = dpt_alloc_zero((size_t)plan->capacity, sizeof *slot->sample);
    if (!slot->array || !slot->sample) return DPT_ERR_MEMORY;
    for (int i = 0; i < plan->fields; i++) DPT_TRY(create_array(plan, i, &slot->array[i]));
    return DPT_OK;
}

void dpt_slot_destroy(const dpt_fill_plan *plan, dpt_slot *slot) {
    for (int i = 0; slot->array && i < plan->fields; i++) dpt_free((void *)(uintptr_t)slot->array[i].data);
    dpt_free(slot->array);
    dpt_free(slot->sample);
    dpt_free(slot->message);
    *slot = (dpt_slot){.status = DPT_OK};
}

/* Which batch this is, and its samples. */
static void choose(const dpt_fill_plan *plan, uint64_t epoch, uint64_t step, dpt_slot *slot) {
    dpt_batch *batch = &slot->batch;
    *batch = (dpt_batch){.epoch = epoch, .step = step, .array = slot->array, .sample = slot->sample};
    batch->global_rows = dpt_epoch_batch_rows(plan->order.rows, plan->global_batch, step);
    dpt_share(batch->global_rows, plan->rank, plan->world, &batch->first_row, &batch->rows);
    uint64_t position = step * (uint64_t)plan->global_batch + (uint64_t)batch->first_row;
    for (int64_t r = 0; r < batch->rows && !atomic_load(&plan->stop); r++, position++)
        slot->sample[r] = plan->shuffle ? dpt_order_exact(&plan->order, epoch, position) : position;
}

/* Rows from r on whose samples follow each other, and that fit in raw. */
static int64_t run_length(const dpt_slot *slot, int64_t r, int64_t most) {
    int64_t n = 1, left = slot->batch.rows - r;
    while (n < left && n < most && slot->sample[r + n] == slot->sample[r] + (uint64_t)n) n++;
    return n;
}

static dpt_status name_sample(const dpt_fill_plan *plan, const dpt_field *field, uint64_t sample, int64_t element) {
    uint64_t row;
    const char *file = dpt_dataset_locate(plan->dataset, sample, &row);
    return dpt_error_prefix(DPT_ERR_DATA, "%s: %s: sample %llu (row %llu of the file), element %lld: ", file,
                            field->path, (unsigned long long)sample, (unsigned long long)row, (long long)element);
}

static dpt_status fill_field(const dpt_fill_plan *plan, int i, void *raw, dpt_slot *slot) {
    const dpt_field *field = dpt_dataset_field(plan->dataset, i);
    const dpt_convert *convert = plan->convert[i];
    int64_t most = (int64_t)(plan->raw_bytes / stored_row_bytes(field));
    size_t out_bytes = (size_t)field->elements * dpt_dtype_size(field->dtype);
    char *out = (char *)(uintptr_t)slot->array[i].data;
    for (int64_t r = 0; r < slot->batch.rows && !atomic_load(&plan->stop);) {
        int64_t n = run_length(slot, r, most), bad = 0;
        void *in = dpt_convert_in_place(convert) ? out : raw;
        DPT_TRY(dpt_dataset_read(plan->dataset, i, slot->sample[r], (uint64_t)n, in));
        if (dpt_convert_rows(convert, in, n, out, &bad) != DPT_OK)
            return name_sample(plan, field, slot->sample[r + bad / field->elements], bad % field->elements);
        out += (size_t)n * out_bytes;
        r += n;
    }
    slot->array[i].rows = slot->batch.rows;
    return DPT_OK;
}

void dpt_slot_fill(const dpt_fill_plan *plan, uint64_t epoch, uint64_t step, void *raw, dpt_slot *slot) {
    choose(plan, epoch, step, slot);
    slot->status = DPT_OK;
    for (int i = 0; i < plan->fields && slot->status == DPT_OK; i++) slot->status = fill_field(plan, i, raw, slot);
    if (slot->status != DPT_OK) slot->message = dpt_strdup(dpt_last_error());
}
