/* choice.cu: greater, equal, where on the GPU, with broadcasting. Twin of src/ops/choice.c. Comparisons of floats are
 * map.cuh's; those of integers give bytes, and a condition may have another type than what it chooses from: these go
 * element by element. */
#include "cuda/layouts.h"
#include "cuda/map.cuh"

enum { THREADS = 256 };

namespace {

struct is_greater {
    template <typename W>
    __device__ __forceinline__ W operator()(W a, W b) const {
        return a > b ? 1 : 0;
    }
    static __device__ __forceinline__ bool of(int64_t a, int64_t b) { return a > b; }
};

struct is_equal {
    template <typename W>
    __device__ __forceinline__ W operator()(W a, W b) const {
        return a == b ? 1 : 0;
    }
    static __device__ __forceinline__ bool of(int64_t a, int64_t b) { return a == b; }
};

/* What broadcasts against an output of which per_row elements a row are valid. */
template <int OPERANDS>
struct choice_walk {
    int64_t per_row;
    int axis;
    dpt_coordinates<OPERANDS> at;
};

template <int OPERANDS>
choice_walk<OPERANDS> walk_of(const dpt_call *call) {
    dpt_loop loop = {};
    choice_walk<OPERANDS> w = {};
    loop.operands = OPERANDS;
    for (int k = 0; k < OPERANDS; k++) dpt_loop_align(loop.step[k], &call->in[k], &call->out[0]);
    dpt_loop_finish(&loop, &call->out[0]);
    w.per_row = call->out[0].row_count;
    w.axis = call->out[0].axis;
    w.at = dpt_coordinates_of<OPERANDS>(&loop);
    return w;
}

template <typename F, typename T>
__global__ void __launch_bounds__(THREADS) compare_kernel(const T *a, const T *b, uint8_t *y,
                                                          const __grid_constant__ choice_walk<2> w,
                                                          const dpt_block *block) {
    const int64_t items = dpt_count(block, w.axis, w.per_row), step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < items; i += step)
        y[i] = F::of((int64_t)a[dpt_offset(w.at, 0, i)], (int64_t)b[dpt_offset(w.at, 1, i)]) ? 1 : 0;
}

/* y = a where the condition (of any type) is not 0, else b; bits as they are. */
template <typename C, typename T>
__global__ void __launch_bounds__(THREADS)
    where_kernel(const C *condition, const T *a, const T *b, T *y, const __grid_constant__ choice_walk<3> w,
                 const dpt_block *block) {
    const int64_t items = dpt_count(block, w.axis, w.per_row), step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < items; i += step) {
        const bool set = dpt_read<double>(condition[dpt_offset(w.at, 0, i)]) != 0;
        y[i] = set ? a[dpt_offset(w.at, 1, i)] : b[dpt_offset(w.at, 2, i)];
    }
}

template <typename F, typename T>
dpt_status compare_integers(const dpt_call *call, dpt_stream *stream) {
    return DPT_LAUNCH((compare_kernel<F, T>), dpt_blocks_for(call, call->out[0].count, THREADS), THREADS, 0, stream,
                      (const T *)call->in[0].data, (const T *)call->in[1].data, (uint8_t *)call->out[0].data,
                      walk_of<2>(call), call->block);
}

template <typename F>
dpt_status compare(const dpt_call *call, dpt_stream *stream) {
    switch (call->in[0].dtype) {
        case DPT_U8: return compare_integers<F, uint8_t>(call, stream);
        case DPT_I32: return compare_integers<F, int32_t>(call, stream);
        case DPT_I64: return compare_integers<F, int64_t>(call, stream);
        default: break;
    }
    DPT_FOR_FLOAT(call->out[0].dtype, T, return (dpt_spread_launch<T, 2>(call, stream, F())));
    return DPT_OK;
}

template <typename C, typename T>
dpt_status where_of(const dpt_call *call, dpt_stream *stream) {
    return DPT_LAUNCH((where_kernel<C, T>), dpt_blocks_for(call, call->out[0].count, THREADS), THREADS, 0, stream,
                      (const C *)call->in[0].data, (const T *)call->in[1].data, (const T *)call->in[2].data,
                      (T *)call->out[0].data, walk_of<3>(call), call->block);
}

template <typename C>
dpt_status where_by_size(const dpt_call *call, dpt_stream *stream) {
    switch (dpt_dtype_size(call->out[0].dtype)) {
        case 2: return where_of<C, uint16_t>(call, stream);
        case 4: return where_of<C, uint32_t>(call, stream);
        default: return where_of<C, uint64_t>(call, stream);
    }
}

}  // namespace

static dpt_status greater_run(dpt_call *call, dpt_stream *stream) { return compare<is_greater>(call, stream); }
static dpt_status equal_run(dpt_call *call, dpt_stream *stream) { return compare<is_equal>(call, stream); }

static dpt_status where_run(dpt_call *call, dpt_stream *stream) {
    switch (call->in[0].dtype) {
        case DPT_U8: return where_by_size<uint8_t>(call, stream);
        case DPT_I32: return where_by_size<int32_t>(call, stream);
        case DPT_I64: return where_by_size<int64_t>(call, stream);
        default: break;
    }
    DPT_FOR_FLOAT(call->in[0].dtype, C, return where_by_size<C>(call, stream));
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(greater, NULL, NULL, greater_run, NULL, dpt_cuda_map_layouts)
DPT_CUDA_KERNEL_LAYOUTS(equal, NULL, NULL, equal_run, NULL, dpt_cuda_map_layouts)
DPT_CUDA_KERNEL_LAYOUTS(where, NULL, NULL, where_run, NULL, dpt_cuda_map_layouts)
