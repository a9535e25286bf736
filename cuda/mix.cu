/* mix.cu: the products of spectra of ops/mix.c on the GPU: a complex value of the result a thread, which takes the
 * terms of its sum in order; neighbouring threads take neighbouring frequencies. */
#include "cuda/stretch.cuh"

enum { THREADS = 256, MOST_WEIGHTS = 4 };

struct mix_shape {
    int dims, corner, weights; /* the first corner, and how many */
    int in, out;               /* channels of x and y */
    int size[3], modes[3];
};

template <typename T>
struct alignas(2 * sizeof(T)) complex_of {
    T re, im;
};
template <typename T>
struct weights_of {
    const complex_of<T> *of[MOST_WEIGHTS];
};

/* The sign bit of dimension d of three in a corner. */
__device__ __forceinline__ int high_of(const mix_shape &s, int corner, int d) {
    const int bit = d - (3 - s.dims);
    return bit >= 0 ? corner >> bit & 1 : 0;
}

/* Frequency k along dimension d as number within the kept ones of a corner, or -1. */
__device__ __forceinline__ int kept(const mix_shape &s, int corner, int d, int k) {
    if (d < 2 && high_of(s, corner, d)) k -= s.size[d] - s.modes[d];
    return k < s.modes[d] ? k : -1;
}

/* mix: y[b,o,k] = sum of x[b,i,k] w[i,o,k]; BACK: dx[b,i,k] = sum of y[b,o,k] conj(w[i,o,k]). */
template <typename T, bool BACK>
__global__ void __launch_bounds__(THREADS) mix_kernel(mix_shape s, dpt_stretch rows, const complex_of<T> *x,
                                                      weights_of<T> w, complex_of<T> *y, const dpt_block *block) {
    const int planes = BACK ? s.in : s.out, terms = BACK ? s.out : s.in;
    const int modes = s.modes[0] * s.modes[1] * s.modes[2];
    const size_t plane = (size_t)s.size[0] * (size_t)s.size[1] * (size_t)s.size[2];
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)(plane * (size_t)planes));
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const int k2 = dpt_take(&rest, (uint32_t)s.size[2]), k1 = dpt_take(&rest, (uint32_t)s.size[1]),
                  k0 = dpt_take(&rest, (uint32_t)s.size[0]), mine = dpt_take(&rest, (uint32_t)planes);
        const size_t k = ((size_t)k0 * (size_t)s.size[1] + (size_t)k1) * (size_t)s.size[2] + (size_t)k2;
        complex_of<T> sum = {0, 0};
        for (int c = 0; c < s.weights; c++) {
            const int m0 = kept(s, s.corner + c, 0, k0), m1 = kept(s, s.corner + c, 1, k1), m2 = kept(s, 0, 2, k2);
            if (m0 < 0 || m1 < 0 || m2 < 0) continue;
            const size_t mode = (size_t)((m0 * s.modes[1] + m1) * s.modes[2] + m2);
            for (int t = 0; t < terms; t++) {
                const size_t i = (size_t)(BACK ? mine : t), o = (size_t)(BACK ? t : mine), pair = i * (size_t)s.out + o;
                const complex_of<T> a = x[((size_t)rest * (size_t)terms + (size_t)t) * plane + k];
                complex_of<T> b = w.of[c][pair * (size_t)modes + mode];
                if (BACK) b.im = -b.im;
                sum.re += a.re * b.re - a.im * b.im;
                sum.im += a.re * b.im + a.im * b.re;
            }
        }
        y[item] = sum;
    }
}

/* mix_wgrad: dw[i,o,k] = sum over the valid rows of conj(x[b,i,k]) y[b,o,k]. */
template <typename T>
__global__ void __launch_bounds__(THREADS) wgrad_kernel(mix_shape s, int64_t capacity, int axis, const complex_of<T> *x,
                                                        const complex_of<T> *y, complex_of<T> *dw,
                                                        const dpt_block *block) {
    const int64_t modes = (int64_t)s.modes[0] * s.modes[1] * s.modes[2];
    const int64_t plane = (int64_t)s.size[0] * s.size[1] * s.size[2], rows = axis < 0 ? capacity : block->rows[axis];
    const int64_t items = (int64_t)s.in * s.out * modes, step = (int64_t)gridDim.x * THREADS;
    for (int64_t item = (int64_t)blockIdx.x * THREADS + threadIdx.x; item < items; item += step) {
        const int64_t m = item % modes, o = item / modes % s.out, i = item / modes / s.out;
        int64_t k[3] = {m / s.modes[2] / s.modes[1], m / s.modes[2] % s.modes[1], m % s.modes[2]};
        for (int d = 0; d < 2; d++)
            if (high_of(s, s.corner, d)) k[d] += s.size[d] - s.modes[d];
        const int64_t at = (k[0] * s.size[1] + k[1]) * s.size[2] + k[2];
        complex_of<T> sum = {0, 0};
        for (int64_t b = 0; b < rows; b++) {
            const complex_of<T> u = x[(b * s.in + i) * plane + at], v = y[(b * s.out + o) * plane + at];
            sum.re += u.re * v.re + u.im * v.im;
            sum.im += u.re * v.im - u.im * v.re;
        }
        dw[item] = sum;
    }
}

/* ---- kernels of the table ---- */

static mix_shape shape_of(const dpt_call *call, const dpt_operand *x, const dpt_operand *y) {
    const dpt_mix_attr *a = &call->attr.mix;
    mix_shape s = {};
    s.dims = a->dims, s.corner = a->corner, s.weights = call->n_in - 1;
    s.in = (int)x->dim[1], s.out = (int)y->dim[1];
    for (int d = 0; d < 3; d++) s.size[d] = (int)a->size[d], s.modes[d] = (int)a->modes[d];
    return s;
}

template <typename T, bool BACK>
static dpt_status product(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *from = &call->in[0], *to = &call->out[0];
    const mix_shape s = shape_of(call, BACK ? to : from, BACK ? from : to);
    const int64_t from_row = from->count / from->dim[0] / 2, to_row = to->count / to->dim[0] / 2;
    weights_of<T> w = {};
    for (int i = 0; i < s.weights; i++) w.of[i] = (const complex_of<T> *)call->in[1 + i].data;
    return dpt_each_stretch(from->dim[0], from->axis, to_row, [&](dpt_stretch rows, int64_t items) {
        return DPT_LAUNCH((mix_kernel<T, BACK>), dpt_blocks_for(call, items, THREADS), THREADS, 0, stream, s, rows,
                          (const complex_of<T> *)from->data + rows.first * from_row, w,
                          (complex_of<T> *)to->data + rows.first * to_row, call->block);
    });
}

template <typename T>
static dpt_status wgrad(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *x = &call->in[0], *y = &call->in[1], *w = &call->out[0];
    return DPT_LAUNCH(wgrad_kernel<T>, dpt_blocks_for(call, w->count / 2, THREADS), THREADS, 0, stream,
                      shape_of(call, x, y), x->dim[0], x->axis, (const complex_of<T> *)x->data,
                      (const complex_of<T> *)y->data, (complex_of<T> *)w->data, call->block);
}

static dpt_status product_prepare(dpt_call *call) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    DPT_CHECK(x->count / x->dim[0] < INT32_MAX && y->count / y->dim[0] < INT32_MAX, DPT_ERR_UNSUPPORTED,
              "spectrum \"%s\": a sample has more than 2^31 values", call->name);
    return DPT_OK;
}

static dpt_status mix_run(dpt_call *call, dpt_stream *stream) {
    if (call->in[0].dtype == DPT_F64) return product<double, false>(call, stream);
    return product<float, false>(call, stream);
}
static dpt_status mix_dgrad_run(dpt_call *call, dpt_stream *stream) {
    if (call->in[0].dtype == DPT_F64) return product<double, true>(call, stream);
    return product<float, true>(call, stream);
}
static dpt_status mix_wgrad_run(dpt_call *call, dpt_stream *stream) {
    if (call->in[0].dtype == DPT_F64) return wgrad<double>(call, stream);
    return wgrad<float>(call, stream);
}

DPT_CUDA_KERNEL(mix, product_prepare, NULL, mix_run, NULL)
DPT_CUDA_KERNEL(mix_dgrad, product_prepare, NULL, mix_dgrad_run, NULL)
DPT_CUDA_KERNEL(mix_wgrad, NULL, NULL, mix_wgrad_run, NULL)
