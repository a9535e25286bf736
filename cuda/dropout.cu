/* dropout.cu: dropout on the GPU, with the masks of src/ops/dropout.c bit for bit: element e of row r is drawn from
 * quad e/4, word e%4, of (key, position of r in the global batch, step), by Random123's Philox4x32-10.
 *
 * A thread makes whole quads of one row: as many as fill 16 bytes. Invariants: the draw of an element depends on its
 * place in its row alone; a thread stores only elements that it has loaded, so that the output may stand in the place
 * of the input. */
#include <Random123/philox.h>

#include "cuda/map.cuh"

/* Elements that a thread makes at once: whole quads, 16 bytes or more. */
template <typename T>
struct drawn {
    static constexpr int COUNT = sizeof(T) < 4 ? 8 : 4;
};

struct dropout_run_of {
    const void *x;
    void *y;
    int64_t row_count, items; /* elements of a row; threads for a row */
    dpt_divisor items_of_row;
    uint64_t key;
    float probability;
    double scale;
    int axis;
    bool whole; /* rows are whole items */
};

/* The four words of elements 4 quad .. 4 quad + 3 of a row; see base/random.h. */
__device__ __forceinline__ philox4x32_ctr_t quad_of(uint64_t key, uint32_t quad, uint64_t row, uint32_t step) {
    const philox4x32_ctr_t counter = {{quad, (uint32_t)row, (uint32_t)(row >> 32), step}};
    const philox4x32_key_t k = {{(uint32_t)key, (uint32_t)(key >> 32)}};
    return philox4x32(counter, k);
}

/* x scaled where the word's upper 24 bits, as a number in [0, 1), reach the probability, else 0. */
template <typename T>
__device__ __forceinline__ T drop(T x, uint32_t word, const dropout_run_of &run) {
    const bool keep = (float)(word >> 8) * 0x1p-24F >= run.probability;
    return dpt_store<T>(keep ? dpt_load(x) * (dpt_wide<T>)run.scale : (dpt_wide<T>)0);
}

template <typename T>
__global__ void __launch_bounds__(DPT_MAP_THREADS)
    dropout_kernel(const __grid_constant__ dropout_run_of run, const dpt_block *block) {
    constexpr int COUNT = drawn<T>::COUNT;
    typedef dpt_elements<T, COUNT> group;
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= dpt_rows(block, run.axis) * run.items) return;
    const int64_t row = dpt_divide(i, run.items_of_row), at = (i - row * run.items) * COUNT;
    const uint64_t drawn_row = (uint64_t)((run.axis < 0 ? 0 : block->first_row[run.axis]) + row);
    const T *x = (const T *)run.x + row * run.row_count + at;
    T *y = (T *)run.y + row * run.row_count + at;
    const int64_t count = run.row_count - at;
    group from = {}, to;
    if (run.whole) {
        from = *(const group *)x;
    } else {
#pragma unroll
        for (int j = 0; j < COUNT; j++)
            if (j < count) from.v[j] = x[j];
    }
#pragma unroll
    for (int q = 0; q < COUNT / 4; q++) {
        const philox4x32_ctr_t r = quad_of(run.key, (uint32_t)(at / 4 + q), drawn_row, (uint32_t)block->step);
#pragma unroll
        for (int j = 0; j < 4; j++) to.v[4 * q + j] = drop(from.v[4 * q + j], r.v[j], run);
    }
    if (run.whole) {
        *(group *)y = to;
    } else {
#pragma unroll
        for (int j = 0; j < COUNT; j++)
            if (j < count) y[j] = to.v[j];
    }
}

static dpt_status dropout_prepare(dpt_call *call) {
    uint64_t *key = (uint64_t *)dpt_alloc(sizeof *key);
    DPT_CHECK_ALLOC(key);
    *key = dpt_random_key(call->name, call->seed);
    call->plan = key;
    return DPT_OK;
}

template <typename T>
static dpt_status dropout_launch(dpt_call *call, dpt_stream *stream, dropout_run_of run) {
    constexpr int COUNT = drawn<T>::COUNT;
    run.items = (run.row_count + COUNT - 1) / COUNT;
    run.items_of_row = dpt_divisor_of(run.items);
    run.whole = run.row_count % COUNT == 0;
    const int64_t items = call->in[0].count / run.row_count * run.items;
    return DPT_LAUNCH(dropout_kernel<T>, dpt_map_blocks(items, DPT_MAP_THREADS), DPT_MAP_THREADS, 0, stream, run,
                      call->block);
}

static dpt_status dropout_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *x = &call->in[0];
    const double probability = call->attr.random.probability;
    dropout_run_of run = {};
    run.x = x->data;
    run.y = call->out[0].data;
    run.row_count = x->row_count;
    run.key = *(const uint64_t *)call->plan;
    run.probability = (float)probability;
    run.scale = 1.0 / (1.0 - probability);
    run.axis = x->axis;
    DPT_FOR_FLOAT(x->dtype, T, return dropout_launch<T>(call, stream, run));
    return DPT_OK;
}

static void dropout_release(dpt_call *call) {
    dpt_free(call->plan);
    call->plan = NULL;
}

DPT_CUDA_KERNEL(dropout, dropout_prepare, NULL, dropout_run, dropout_release)
