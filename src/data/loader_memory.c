/* loader_memory.c: see loader_memory.h. Sums and products stop at MOST, so that whatever a file declares none goes
 * round. */
#include "data/loader_memory.h"

#include "data/block_advice.h"
#include "data/dataset_private.h"
#include "data/loader_fill.h"

static const uint64_t MOST = INT64_MAX;
enum { DECODER_BYTES = 64 << 10, DECODER_ROOMS = 2 };
enum { READ_AHEAD_BYTES = 16 << 20, LEAST_AHEAD = 4, MOST_AHEAD = 32, MOST_SLOTS = 1024 };

static uint64_t add(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) || sum > MOST ? MOST : sum;
}

static uint64_t multiply(uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) || product > MOST ? MOST : product;
}

/* The largest chunks of a field that are decoded: as stored, and decoded. */
typedef struct largest {
    uint64_t stored, decoded;
} largest;

static largest find_largest(const dpt_index *index, int field) {
    largest l = {0};
    for (int f = 0; f < index->files; f++) {
        const dpt_index_part *part = &index->part[f * index->fields + field];
        if (!dpt_chunks_are_decoded(&index->field[field], part)) continue;
        if (part->chunk_bytes > l.decoded) l.decoded = part->chunk_bytes;
        for (uint64_t i = 0; i < part->chunks; i++)
            if (part->chunk[i].bytes > l.stored) l.stored = part->chunk[i].bytes;
    }
    return l;
}

/* Of a reader for each thread, and of those that it has for the steps of sequences, each with a cache of its own. */
static void measure_chunks(const dpt_dataset *dataset, uint64_t threads, dpt_loader_need *need) {
    const dpt_index *index = dpt_dataset_index(dataset);
    largest most = {0};
    for (int i = 0; dataset->sequence && i < dataset->sequences; i++)
        if (dataset->sequence[i].steps) measure_chunks(dataset->sequence[i].steps, threads, need);
    for (int i = 0; i < index->fields; i++) {
        largest l = find_largest(index, i);
        need->chunk_bytes = add(need->chunk_bytes, l.decoded);
        if (l.stored > most.stored) most.stored = l.stored;
        if (l.decoded > most.decoded) most.decoded = l.decoded;
    }
    if (most.decoded == 0) return;
    need->chunk_bytes = add(need->chunk_bytes, multiply(threads - 1, most.decoded));
    uint64_t rooms = add(most.stored, DECODER_ROOMS * most.decoded + DECODER_BYTES);
    need->thread_bytes = add(need->thread_bytes, multiply(threads, rooms));
}

dpt_status dpt_loader_measure(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_loader_need *need) {
    dpt_loader_options o = *options;
    dpt_fill_plan plan;
    const uint64_t threads = o.threads > 0 ? (uint64_t)o.threads : 1;
    *need = (dpt_loader_need){.threads = o.threads};
    if (o.capacity == 0) DPT_TRY(dpt_loader_capacity(dataset, &o, &o.capacity));
    dpt_status status = dpt_fill_plan_create(dataset, &o, &plan);
    if (status == DPT_OK) {
        need->batch_bytes = multiply((uint64_t)o.capacity, dpt_fill_plan_row_bytes(&plan));
        need->thread_bytes = multiply(threads, add(plan.scratch_bytes, plan.in_blocks ? sizeof(dpt_block_advice) : 0));
        measure_chunks(dataset, threads, need);
    }
    dpt_fill_plan_destroy(&plan);
    return status;
}

uint64_t dpt_loader_least(const dpt_loader_need *need) {
    return add(need->batch_bytes, add(need->thread_bytes, need->chunk_bytes));
}

int dpt_loader_wanted_slots(const dpt_loader_need *need, uint64_t read_ahead) {
    uint64_t least = read_ahead > 0 ? 2 : LEAST_AHEAD, bytes = read_ahead > 0 ? read_ahead : READ_AHEAD_BYTES;
    uint64_t slots = bytes / (need->batch_bytes > 0 ? need->batch_bytes : 1);
    if (read_ahead == 0 && least < (uint64_t)need->threads + 1) least = (uint64_t)need->threads + 1;
    if (read_ahead == 0 && slots > MOST_AHEAD) slots = MOST_AHEAD;
    if (slots < least) slots = least;
    return slots < MOST_SLOTS ? (int)slots : MOST_SLOTS;
}

uint64_t dpt_loader_divide(const dpt_loader_need *need, uint64_t bytes, uint64_t read_ahead, uint64_t chunk_bytes,
                           dpt_loader_options *options) {
    uint64_t fixed = add(need->thread_bytes, need->chunk_bytes), left = bytes > fixed ? bytes - fixed : 0;
    uint64_t batch = need->batch_bytes > 0 ? need->batch_bytes : 1, slots = left / batch;
    uint64_t in_half = left / 2 / batch, wanted = (uint64_t)dpt_loader_wanted_slots(need, read_ahead);
    if (slots > 2 && slots > in_half) slots = in_half > 2 ? in_half : 2;
    if (slots > wanted) slots = wanted;
    if (slots == 0) slots = 1;
    left -= slots * batch < left ? slots * batch : left;
    uint64_t more = chunk_bytes > need->chunk_bytes ? chunk_bytes - need->chunk_bytes : 0;
    if (need->chunk_bytes == 0) more = 0; /* nothing is decoded */
    if (more > left) more = left;
    options->slots = (int)slots;
    options->cache_bytes = need->chunk_bytes + more;
    return add(fixed, add(multiply(slots, need->batch_bytes), more));
}
