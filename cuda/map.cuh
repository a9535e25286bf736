/* map.cuh: kernels that make every element of the output from one element of each operand: of one operand, of the same
 * shape and perhaps another type (dpt_map_launch), or of one or two that broadcast against the output
 * (dpt_spread_launch).
 *
 * The output is cut into packs of 16 bytes and tiles of packs. A block makes one tile; each thread loads what it needs
 * for all its packs before it computes, so that enough bytes are in flight. Invariants: a thread stores an element only
 * after it has loaded the operands' elements in its place, and no other thread loads those, so that the output may
 * stand in the place of an operand of its shape; operands and output begin at multiples of 16 bytes. */
#ifndef DPT_CUDA_MAP_CUH
#define DPT_CUDA_MAP_CUH

#include "cuda/number.cuh"
#include "cuda/rows.cuh"
#include "ops/loop.h"

enum { DPT_MAP_THREADS = 256 };

/* ---- tiles ---- */

/* Packs of a tile where the output has `packs` at capacity: `most` for each thread of a block if there are enough of
 * them to fill the device more than once, else one. */
static inline int64_t dpt_map_tile(const dpt_call *call, int64_t packs, int most) {
    const dpt_cuda_device *d = dpt_cuda_device_of(call);
    const int64_t threads = (int64_t)d->multiprocessors * d->threads_per_multiprocessor;
    return (int64_t)DPT_MAP_THREADS * (packs > 2 * threads ? most : 1);
}

/* Blocks for that, at least one, which also makes the elements after the last whole pack. */
static inline unsigned dpt_map_blocks(int64_t packs, int64_t tile) {
    return (unsigned)(packs > 0 ? (packs + tile - 1) / tile : 1);
}

/* Valid elements of an array, in this run. */
__device__ __forceinline__ int64_t dpt_count(const dpt_block *block, int axis, int64_t row_count) {
    return dpt_rows(block, axis) * row_count;
}

/* ---- one operand: y[i] = f(x[i]) in the wide type of y ---- */

/* An element of any type that casts take, as a W. */
template <typename W, typename T>
__device__ __forceinline__ W dpt_read(T v) {
    return (W)v;
}
template <typename W>
__device__ __forceinline__ W dpt_read(__nv_bfloat16 v) {
    return (W)dpt_load(v);
}
template <typename W>
__device__ __forceinline__ W dpt_read(__half v) {
    return (W)dpt_load(v);
}

enum { DPT_MAP_PACKS = 4 };

template <typename To, typename From, typename F>
__global__ void __launch_bounds__(DPT_MAP_THREADS)
    dpt_map_kernel(const From *x, To *y, int64_t row_count, int axis, int64_t tile, F f, const dpt_block *block) {
    typedef dpt_wide<To> W;
    constexpr int N = 16 / (int)(sizeof(To) > sizeof(From) ? sizeof(To) : sizeof(From));
    typedef dpt_elements<From, N> from_pack;
    typedef dpt_elements<To, N> to_pack;
    const int64_t count = dpt_count(block, axis, row_count), packs = count / N;
    const int64_t begin = blockIdx.x * tile, end = begin + tile < packs ? begin + tile : packs;
    from_pack from[DPT_MAP_PACKS];
#pragma unroll
    for (int k = 0; k < DPT_MAP_PACKS; k++) {
        const int64_t p = begin + threadIdx.x + k * DPT_MAP_THREADS;
        if (p < end) from[k] = ((const from_pack *)x)[p];
    }
#pragma unroll
    for (int k = 0; k < DPT_MAP_PACKS; k++) {
        const int64_t p = begin + threadIdx.x + k * DPT_MAP_THREADS;
        if (p >= end) break;
        to_pack to;
#pragma unroll
        for (int j = 0; j < N; j++) to.v[j] = dpt_store<To>(f(dpt_read<W>(from[k].v[j])));
        ((to_pack *)y)[p] = to;
    }
    const int64_t last = packs * N + threadIdx.x;
    if (blockIdx.x == 0 && last < count) y[last] = dpt_store<To>(f(dpt_read<W>(x[last])));
}

/* f: W -> W, a __device__ operator() over float and double. */
template <typename To, typename From, typename F>
static dpt_status dpt_map_launch(const dpt_call *call, dpt_stream *stream, F f) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const int64_t size = (int64_t)(sizeof(To) > sizeof(From) ? sizeof(To) : sizeof(From));
    const int64_t packs = y->count * size / 16, tile = dpt_map_tile(call, packs, DPT_MAP_PACKS);
    return DPT_LAUNCH((dpt_map_kernel<To, From, F>), dpt_map_blocks(packs, tile), DPT_MAP_THREADS, 0, stream,
                      (const From *)x->data, (To *)y->data, y->row_count, y->axis, tile, f, call->block);
}

/* The same for an op whose operand has the type of its output. */
template <typename F>
static dpt_status dpt_map_run(const dpt_call *call, dpt_stream *stream, F f) {
    DPT_FOR_FLOAT(call->out[0].dtype, T, return dpt_map_launch<T, T>(call, stream, f));
    return DPT_OK;
}

/* ---- positions in a loop over several dimensions ---- */

/* Division of an index below 2^63 by a constant, without the slow 64-bit division: n / value = (n factor / 2^64) >>
 * shift, exact with factor = floor(2^(64 + shift) / value) + 1 where 2^shift < value < 2^(shift + 1), and with 2^63
 * where value is 2^(shift + 1). Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI
 * 1994, theorem 4.2. */
typedef struct dpt_divisor {
    int64_t value;
    uint64_t factor; /* 0: value is 1 */
    int shift;
} dpt_divisor;

static inline dpt_divisor dpt_divisor_of(int64_t value) {
    dpt_divisor d = {value, 0, 0};
    if (value <= 1) return d;
    while (value >> (d.shift + 1) > 1) d.shift++;
    if ((value & (value - 1)) == 0) {
        d.factor = (uint64_t)1 << 63;
        return d;
    }
    d.shift++;
    d.factor = (uint64_t)(((unsigned __int128)1 << (64 + d.shift)) / (unsigned __int128)value) + 1;
    return d;
}

__device__ __forceinline__ int64_t dpt_divide(int64_t n, const dpt_divisor &d) {
    const int64_t quotient = (int64_t)(__umul64hi((uint64_t)n, d.factor) >> d.shift);
    return d.factor == 0 ? n : quotient;
}

/* What dpt_loop is, on the device: see ops/loop.h. */
template <int OPERANDS>
struct dpt_coordinates {
    int ndim;
    dpt_divisor length[DPT_MAX_NDIM]; /* length[0] is not used */
    int64_t step[OPERANDS][DPT_MAX_NDIM];
};

template <int OPERANDS>
static inline dpt_coordinates<OPERANDS> dpt_coordinates_of(const dpt_loop *loop) {
    dpt_coordinates<OPERANDS> p = {};
    p.ndim = loop->ndim;
    for (int i = 0; i < loop->ndim; i++) {
        p.length[i] = dpt_divisor_of(loop->length[i]);
        for (int k = 0; k < OPERANDS; k++) p.step[k][i] = loop->step[k][i];
    }
    return p;
}

/* Offset of operand k at `index` in C order. */
template <int OPERANDS>
__device__ __forceinline__ int64_t dpt_offset(const dpt_coordinates<OPERANDS> &p, int k, int64_t index) {
    int64_t offset = 0;
    for (int i = p.ndim - 1; i > 0; i--) {
        const int64_t rest = dpt_divide(index, p.length[i]);
        offset += (index - rest * p.length[i].value) * p.step[k][i];
        index = rest;
    }
    return p.ndim > 0 ? offset + index * p.step[k][0] : 0;
}

/* ---- one or two operands of one type, broadcast against the output ---- */

/* How the elements of a pack stand in an operand: as in the output; side by side, from the offset of the first; all the
 * same; or each by itself. */
typedef enum dpt_reading { DPT_READ_SAME, DPT_READ_PACK, DPT_READ_ONE, DPT_READ_EACH } dpt_reading;

template <int OPERANDS>
struct dpt_spread {
    const void *x[OPERANDS];
    void *y;
    int64_t row_count, tile;
    int axis;
    dpt_reading reading[OPERANDS];
    dpt_coordinates<OPERANDS> position;
};

template <typename T, int N, int OPERANDS>
__device__ __forceinline__ dpt_elements<T, N> dpt_spread_read(const dpt_spread<OPERANDS> &s, int k, int64_t pack) {
    const T *x = (const T *)s.x[k];
    if (s.reading[k] == DPT_READ_SAME) return ((const dpt_elements<T, N> *)x)[pack];
    if (s.reading[k] == DPT_READ_PACK) return *(const dpt_elements<T, N> *)(x + dpt_offset(s.position, k, pack * N));
    dpt_elements<T, N> e;
    if (s.reading[k] == DPT_READ_ONE) {
        const T value = x[dpt_offset(s.position, k, pack * N)];
#pragma unroll
        for (int j = 0; j < N; j++) e.v[j] = value;
    } else {
#pragma unroll
        for (int j = 0; j < N; j++) e.v[j] = x[dpt_offset(s.position, k, pack * N + j)];
    }
    return e;
}

/* The element at `index`. */
template <typename T, int OPERANDS>
__device__ __forceinline__ T dpt_spread_read_one(const dpt_spread<OPERANDS> &s, int k, int64_t index) {
    return ((const T *)s.x[k])[s.reading[k] == DPT_READ_SAME ? index : dpt_offset(s.position, k, index)];
}

/* f of elements, computed in their wide type. */
template <typename F, typename T, int N>
__device__ __forceinline__ dpt_elements<T, N> dpt_apply(const F &f, const dpt_elements<T, N> *x) {
    dpt_elements<T, N> y;
#pragma unroll
    for (int j = 0; j < N; j++) y.v[j] = dpt_store<T>(f(dpt_load(x[0].v[j]), dpt_load(x[1].v[j])));
    return y;
}

/* Bits as they are: for types that nothing is computed in. */
struct dpt_as_is {};
template <typename T, int N>
__device__ __forceinline__ dpt_elements<T, N> dpt_apply(const dpt_as_is &, const dpt_elements<T, N> *x) {
    return x[0];
}

template <typename T, int OPERANDS, typename F>
__global__ void __launch_bounds__(DPT_MAP_THREADS)
    dpt_spread_kernel(const __grid_constant__ dpt_spread<OPERANDS> s, F f, const dpt_block *block) {
    constexpr int N = 16 / (int)sizeof(T), PACKS = DPT_MAP_PACKS / OPERANDS;
    typedef dpt_elements<T, N> pack;
    const int64_t count = dpt_count(block, s.axis, s.row_count), packs = count / N;
    const int64_t begin = blockIdx.x * s.tile, end = begin + s.tile < packs ? begin + s.tile : packs;
    pack from[PACKS][OPERANDS];
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        const int64_t p = begin + threadIdx.x + k * DPT_MAP_THREADS;
        if (p >= end) break;
#pragma unroll
        for (int o = 0; o < OPERANDS; o++) from[k][o] = dpt_spread_read<T, N>(s, o, p);
    }
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        const int64_t p = begin + threadIdx.x + k * DPT_MAP_THREADS;
        if (p < end) ((pack *)s.y)[p] = dpt_apply(f, from[k]);
    }
    const int64_t last = packs * N + threadIdx.x;
    if (blockIdx.x > 0 || last >= count) return;
    dpt_elements<T, 1> one[OPERANDS];
#pragma unroll
    for (int o = 0; o < OPERANDS; o++) one[o].v[0] = dpt_spread_read_one<T>(s, o, last);
    ((T *)s.y)[last] = dpt_apply(f, one).v[0];
}

/* Packs of n elements (a power of two). */
static inline dpt_reading dpt_reading_of(const dpt_loop *loop, int k, const dpt_operand *x, const dpt_operand *y,
                                         int64_t n) {
    const int inner = loop->ndim - 1;
    if (x->count == y->count) return DPT_READ_SAME;
    if (loop->ndim > 1 && loop->length[inner] % n != 0) return DPT_READ_EACH;
    return loop->step[k][inner] ? DPT_READ_PACK : DPT_READ_ONE;
}

/* y = f(in[0], in[1]) with NumPy's broadcasting, or f(in[0]); T: a type of the elements' size where f is dpt_as_is. */
template <typename T, int OPERANDS, typename F>
static dpt_status dpt_spread_launch(const dpt_call *call, dpt_stream *stream, F f) {
    constexpr int64_t N = 16 / (int64_t)sizeof(T);
    const dpt_operand *y = &call->out[0];
    dpt_loop loop = {};
    loop.operands = OPERANDS;
    for (int k = 0; k < OPERANDS; k++) dpt_loop_align(loop.step[k], &call->in[k], y);
    dpt_loop_finish(&loop, y);
    dpt_spread<OPERANDS> s = {};
    for (int k = 0; k < OPERANDS; k++) {
        s.x[k] = call->in[k].data;
        s.reading[k] = dpt_reading_of(&loop, k, &call->in[k], y, N);
    }
    s.y = y->data;
    s.row_count = y->row_count;
    s.axis = y->axis;
    s.position = dpt_coordinates_of<OPERANDS>(&loop);
    s.tile = dpt_map_tile(call, y->count / N, DPT_MAP_PACKS / OPERANDS);
    return DPT_LAUNCH((dpt_spread_kernel<T, OPERANDS, F>), dpt_map_blocks(y->count / N, s.tile), DPT_MAP_THREADS, 0,
                      stream, s, f, call->block);
}

/* Copies in[0], broadcast, to out[0]: elements of any type (shape.cu). */
dpt_status dpt_cuda_spread(dpt_call *call, dpt_stream *stream);

#endif
