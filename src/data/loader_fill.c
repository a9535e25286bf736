/* loader_fill.c: see loader_fill.h. Consecutive samples are read together, up to RUN_BYTES: in the order of the files
 * that makes few large reads, in a random one nearly always one row each. */
#include "data/loader_fill.h"

#include <string.h>

#include "base/memory.h"
#include "data/sequence_rows.h"

enum { RUN_BYTES = 256 << 10, ALIGNMENT = 64 };

static uint64_t stored_row_bytes(const dpt_field *field) { return (uint64_t)field->elements * field->stored.bytes; }

static bool is_float(dpt_dtype dtype) { return dtype == DPT_F32 || dtype == DPT_F64; }

/* What mixup adds to a batch, and room for rows between reading and the batch. */
static dpt_status plan_rows(dpt_fill_plan *plan) {
    const dpt_field *last = dpt_dataset_field(plan->dataset, plan->fields - 1);
    for (int i = 0; i < plan->fields; i++) {
        const dpt_field *field = dpt_dataset_field(plan->dataset, i);
        uint64_t bytes = (uint64_t)dpt_convert_elements(plan->convert[i]) * dpt_dtype_size(field->dtype);
        if (stored_row_bytes(field) > plan->raw_bytes) plan->raw_bytes = stored_row_bytes(field);
        if (bytes > plan->row_bytes) plan->row_bytes = bytes;
    }
    plan->raw_bytes = (plan->raw_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    plan->row_bytes = (plan->row_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    plan->scratch_bytes = plan->raw_bytes + 2 * plan->row_bytes;
    plan->arrays = plan->fields;
    if (plan->mixup == 0 || is_float(last->dtype)) return DPT_OK;
    plan->partner_name = dpt_format("%s" DPT_PARTNER_SUFFIX, last->name);
    DPT_CHECK_ALLOC(plan->partner_name);
    plan->arrays += 2;
    return DPT_OK;
}

dpt_status dpt_fill_plan_create(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_fill_plan *plan) {
    const dpt_augment_options *augment = options->augment;
    *plan = (dpt_fill_plan){.dataset = dataset,
                            .capacity = options->capacity,
                            .in_blocks = options->draws == NULL && options->shuffle && options->window > 0,
                            .augmented = -1,
                            .mixup = options->mixup,
                            .seed = options->seed,
                            .cache_bytes = options->cache_bytes,
                            .kept = options->kept,
                            .raw_bytes = RUN_BYTES};
    DPT_TRY(dpt_loader_order_create(dataset, options, &plan->order));
    int fields = dpt_dataset_field_count(dataset);
    plan->convert = dpt_alloc_zero((size_t)fields, sizeof *plan->convert);
    DPT_CHECK_ALLOC(plan->convert);
    plan->fields = fields;
    for (int i = 0; i < fields; i++) {
        const dpt_field *field = dpt_dataset_field(dataset, i);
        const dpt_normalise *normalise = options->normalise ? &options->normalise[i] : NULL;
        DPT_TRY(dpt_convert_create(field, normalise, &plan->convert[i]));
        DPT_CHECK(
            !field->sequence || (plan->mixup == 0 && !(augment && augment->field == i && dpt_augment_any(augment))),
            DPT_ERR_CONFIG, "input \"%s\" is of sequences of different lengths: neither mixed nor augmented",
            field->name);
        if (!augment || augment->field != i || !dpt_augment_any(augment)) continue;
        DPT_TRY(dpt_augmenter_create(field, normalise, augment, options->seed, &plan->augmenter));
        plan->augmented = i;
    }
    return plan_rows(plan);
}

uint64_t dpt_fill_plan_row_bytes(const dpt_fill_plan *plan) {
    uint64_t bytes = 2 * sizeof(uint64_t), field_bytes = 0;
    for (int i = 0; i < plan->fields; i++) {
        const dpt_field *field = dpt_dataset_field(plan->dataset, i);
        field_bytes = (uint64_t)dpt_convert_elements(plan->convert[i]) * dpt_dtype_size(field->dtype);
        bytes += field_bytes;
    }
    return plan->arrays > plan->fields ? bytes + field_bytes + sizeof(float) : bytes;
}

void dpt_fill_plan_destroy(dpt_fill_plan *plan) {
    for (int i = 0; i < plan->fields; i++) dpt_convert_destroy(&plan->convert[i]);
    dpt_augmenter_destroy(&plan->augmenter);
    dpt_loader_order_destroy(&plan->order);
    dpt_free(plan->partner_name);
    dpt_free(plan->convert);
    plan->partner_name = NULL;
    plan->convert = NULL;
    plan->fields = 0;
}

dpt_status dpt_fill_tools_create(const dpt_fill_plan *plan, const dpt_fill_tools *first, dpt_fill_tools *tools) {
    *tools = (dpt_fill_tools){.scratch = dpt_alloc_aligned(plan->scratch_bytes, ALIGNMENT)};
    DPT_CHECK_ALLOC(tools->scratch);
    if (first) return dpt_reader_share(first->reader, &tools->reader);
    DPT_TRY(dpt_reader_create(plan->dataset, plan->cache_bytes, &tools->reader));
    dpt_reader_keep(tools->reader, plan->kept);
    return DPT_OK;
}

void dpt_fill_tools_destroy(dpt_fill_tools *tools) {
    dpt_reader_destroy(&tools->reader);
    dpt_free(tools->scratch);
    tools->scratch = NULL;
}

static dpt_status create_array(const dpt_fill_plan *plan, const char *name, int64_t elements, dpt_dtype dtype,
                               dpt_array *array) {
    uint64_t bytes;
    bool over = __builtin_mul_overflow((uint64_t)plan->capacity, (uint64_t)elements, &bytes) ||
                __builtin_mul_overflow(bytes, dpt_dtype_size(dtype), &bytes);
    DPT_CHECK(!over, DPT_ERR_MEMORY, "input \"%s\": %lld rows of %lld elements", name, (long long)plan->capacity,
              (long long)elements);
    void *data = dpt_alloc_aligned(bytes, ALIGNMENT);
    DPT_CHECK_ALLOC(data);
    memset(data, 0, bytes);
    *array = (dpt_array){.name = name, .data = data, .dtype = dtype, .place = DPT_HOST};
    return DPT_OK;
}

dpt_status dpt_slot_create(const dpt_fill_plan *plan, dpt_slot *slot) {
    *slot = (dpt_slot){.status = DPT_OK};
    slot->array = dpt_alloc_zero((size_t)plan->arrays, sizeof *slot->array);
    slot->sample = dpt_alloc_zero((size_t)plan->capacity, sizeof *slot->sample);
    slot->partner = dpt_alloc_zero((size_t)plan->capacity, sizeof *slot->partner);
    if (!slot->array || !slot->sample || !slot->partner) return DPT_ERR_MEMORY;
    const dpt_field *field = NULL;
    int64_t elements = 0;
    for (int i = 0; i < plan->fields; i++) {
        field = dpt_dataset_field(plan->dataset, i);
        elements = dpt_convert_elements(plan->convert[i]);
        DPT_TRY(create_array(plan, field->name, elements, field->dtype, &slot->array[i]));
    }
    if (plan->arrays == plan->fields) return DPT_OK;
    DPT_TRY(create_array(plan, plan->partner_name, elements, field->dtype, &slot->array[plan->fields]));
    return create_array(plan, DPT_LAMBDA_NAME, 1, DPT_F32, &slot->array[plan->fields + 1]);
}

void dpt_slot_destroy(const dpt_fill_plan *plan, dpt_slot *slot) {
    for (int i = 0; slot->array && i < plan->arrays; i++) dpt_free((void *)(uintptr_t)slot->array[i].data);
    dpt_free(slot->array);
    dpt_free(slot->sample);
    dpt_free(slot->partner);
    dpt_free(slot->message);
    *slot = (dpt_slot){.status = DPT_OK};
}

/* Partners stand `distance` places further in the global batch, whose end is joined to its beginning. */
static dpt_status choose_partners(const dpt_batch_order *order, int64_t distance, uint64_t *partner) {
    int64_t all = order->global_rows, first = all ? (order->first_row + distance) % all : 0;
    int64_t count = order->rows < all - first ? order->rows : all - first;
    DPT_TRY(dpt_batch_order_samples(order, first, count, partner));
    return dpt_batch_order_samples(order, 0, order->rows - count, partner + count);
}

/* Which batch this is, its samples and their partners. */
static dpt_status choose(const dpt_fill_plan *plan, uint64_t epoch, uint64_t step, dpt_slot *slot) {
    dpt_batch *batch = &slot->batch;
    dpt_batch_order order;
    *batch =
        (dpt_batch){.epoch = epoch, .step = step, .arrays = plan->arrays, .array = slot->array, .sample = slot->sample};
    DPT_TRY(dpt_batch_order_open(plan->order, epoch, step, &order));
    batch->global_rows = order.global_rows;
    batch->first_row = order.first_row;
    batch->rows = order.rows;
    dpt_status status = dpt_batch_order_samples(&order, order.first_row, order.rows, slot->sample);
    if (plan->mixup > 0 && status == DPT_OK) {
        slot->mixup = dpt_mixup_draw(plan->mixup, plan->seed, epoch, step, batch->global_rows);
        status = choose_partners(&order, slot->mixup.distance, slot->partner);
    }
    dpt_batch_order_close(plan->order, &order);
    return status;
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

/* Reads consecutive samples of field i from `sample` on, converted, to out. */
static dpt_status read_rows(const dpt_fill_plan *plan, const dpt_fill_tools *tools, int i, uint64_t sample, int64_t n,
                            void *out) {
    const dpt_field *field = dpt_dataset_field(plan->dataset, i);
    int64_t bad = 0;
    void *in = dpt_convert_in_place(plan->convert[i]) ? out : tools->scratch;
    DPT_TRY(dpt_reader_rows(tools->reader, i, sample, (uint64_t)n, in));
    dpt_status status = field->sequence
                            ? dpt_sequence_convert(plan->dataset, i, plan->convert[i], sample, in, n, out, &bad)
                            : dpt_convert_rows(plan->convert[i], in, n, out, &bad);
    if (status == DPT_OK) return DPT_OK;
    return name_sample(plan, field, sample + (uint64_t)(bad / field->elements), bad % field->elements);
}

/* Images that are augmented, which are in a random order, are read one by one to the place that augmentation takes them
 * from. */
static dpt_status fill_field(const dpt_fill_plan *plan, int i, const dpt_fill_tools *tools, dpt_slot *slot) {
    const dpt_field *field = dpt_dataset_field(plan->dataset, i);
    bool augmented = i == plan->augmented;
    int64_t most = augmented ? 1 : (int64_t)(plan->raw_bytes / stored_row_bytes(field));
    size_t out_bytes = (size_t)dpt_convert_elements(plan->convert[i]) * dpt_dtype_size(field->dtype);
    char *out = (char *)(uintptr_t)slot->array[i].data, *row = (char *)tools->scratch + plan->raw_bytes;
    for (int64_t r = 0, n; r < slot->batch.rows && !atomic_load(&plan->stop); r += n, out += (size_t)n * out_bytes) {
        n = run_length(slot, r, most);
        DPT_TRY(read_rows(plan, tools, i, slot->sample[r], n, augmented ? row : out));
        if (augmented)
            dpt_augmenter_apply(plan->augmenter, slot->batch.epoch, slot->sample[r], (void *)row, (void *)out);
    }
    slot->array[i].rows = slot->batch.rows;
    return DPT_OK;
}

/* Floats are mixed with the partner's, which is read and augmented as when it stands for itself. */
static dpt_status mix_field(const dpt_fill_plan *plan, int i, const dpt_fill_tools *tools, dpt_slot *slot) {
    const dpt_field *field = dpt_dataset_field(plan->dataset, i);
    int64_t elements = dpt_convert_elements(plan->convert[i]);
    size_t bytes = (size_t)elements * dpt_dtype_size(field->dtype);
    char *out = (char *)(uintptr_t)slot->array[i].data, *row = (char *)tools->scratch + plan->raw_bytes;
    float lambda = slot->mixup.lambda;
    for (int64_t r = 0; r < slot->batch.rows && !atomic_load(&plan->stop); r++, out += bytes) {
        char *partner = i == plan->augmented ? row + plan->row_bytes : row;
        DPT_TRY(read_rows(plan, tools, i, slot->partner[r], 1, row));
        if (i == plan->augmented)
            dpt_augmenter_apply(plan->augmenter, slot->batch.epoch, slot->partner[r], (void *)row, (void *)partner);
        if (field->dtype == DPT_F32)
            dpt_mixup_blend_f32(lambda, (void *)out, (const void *)partner, elements);
        else
            dpt_mixup_blend_f64(lambda, (void *)out, (const void *)partner, elements);
    }
    return DPT_OK;
}

/* The partners' values of the last field, and lambda for each row. */
static dpt_status fill_partners(const dpt_fill_plan *plan, const dpt_fill_tools *tools, dpt_slot *slot) {
    int last = plan->fields - 1;
    dpt_array *partners = &slot->array[plan->fields], *share = &slot->array[plan->fields + 1];
    size_t bytes = (size_t)dpt_dataset_field(plan->dataset, last)->elements * dpt_dtype_size(partners->dtype);
    char *out = (char *)(uintptr_t)partners->data;
    float *lambda = (float *)(uintptr_t)share->data;
    for (int64_t r = 0; r < slot->batch.rows && !atomic_load(&plan->stop); r++, out += bytes) {
        DPT_TRY(read_rows(plan, tools, last, slot->partner[r], 1, out));
        lambda[r] = slot->mixup.lambda;
    }
    partners->rows = share->rows = slot->batch.rows;
    return DPT_OK;
}

void dpt_slot_fill(const dpt_fill_plan *plan, uint64_t epoch, uint64_t step, const dpt_fill_tools *tools,
                   dpt_slot *slot) {
    slot->status = choose(plan, epoch, step, slot);
    if (slot->status == DPT_OK && plan->in_blocks) slot->status = dpt_reader_in_blocks(tools->reader, epoch);
    for (int i = 0; i < plan->fields && slot->status == DPT_OK; i++) {
        slot->status = fill_field(plan, i, tools, slot);
        if (slot->status == DPT_OK && plan->mixup > 0 && is_float(slot->array[i].dtype))
            slot->status = mix_field(plan, i, tools, slot);
    }
    if (slot->status == DPT_OK && plan->arrays > plan->fields) slot->status = fill_partners(plan, tools, slot);
    if (slot->status != DPT_OK) slot->message = dpt_strdup(dpt_last_error());
}
