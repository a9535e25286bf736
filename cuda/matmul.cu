/* matmul.cu: products of matrices by cuBLASLt (product.h), and the zeroing of padded rows that products over the batch
 * need. Invariant: where the batch dimension is contracted, both operands hold zeros past the valid rows. */
#include "cuda/launch.h"
#include "cuda/number.cuh"
#include "cuda/product.h"

/* ---- zeroing ---- */

namespace {

struct padded {
    void *data;
    int64_t row_bytes, bytes; /* of a row; of all rows at capacity */
};

/* Zeroes bytes [from, to), both even: 16 at a time, what stands before and after in pairs. */
__device__ void zero_range(char *data, int64_t from, int64_t to) {
    const int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, step = (int64_t)gridDim.x * blockDim.x;
    int64_t begin = (from + 15) / 16 * 16, end = to / 16 * 16;
    if (begin > to) begin = to;
    if (end < begin) end = begin;
    for (int64_t i = begin / 16 + first; i < end / 16; i += step) ((uint4 *)data)[i] = make_uint4(0, 0, 0, 0);
    for (int64_t i = from / 2 + first; i < begin / 2; i += step) ((uint16_t *)data)[i] = 0;
    for (int64_t i = end / 2 + first; i < to / 2; i += step) ((uint16_t *)data)[i] = 0;
}

__global__ void zero_padding_kernel(const dpt_block *block, int axis, padded x, padded y) {
    const int64_t rows = block->rows[axis];
    zero_range((char *)x.data, rows * x.row_bytes, x.bytes);
    zero_range((char *)y.data, rows * y.row_bytes, y.bytes);
}

padded padded_of(const dpt_operand *o) {
    const int64_t size = (int64_t)dpt_dtype_size(o->dtype);
    return {o->data, o->row_count * size, o->count * size};
}

}  // namespace

dpt_status dpt_cuda_zero_padding(const dpt_call *call, const dpt_operand *x, const dpt_operand *y, dpt_stream *stream) {
    if (x->axis < 0) return DPT_OK;
    const padded of_x = padded_of(x), of_y = padded_of(y);
    const unsigned blocks = dpt_blocks_for(call, (of_x.bytes > of_y.bytes ? of_x.bytes : of_y.bytes) / 64, 256);
    return DPT_LAUNCH(zero_padding_kernel, blocks, 256, 0, stream, call->block, x->axis, of_x, of_y);
}

/* ---- matmul: c = op(a) op(b), a and b 2-D, both 3-D with the same leading dimension, or a 3-D and b 2-D ---- */

/* At capacity; the twin of product_of in ops/matmul.c. */
static dpt_cuda_product product_of(const dpt_call *call) {
    const dpt_operand *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
    dpt_cuda_product d = {};
    d.transpose_a = call->attr.matmul.transpose_a;
    d.transpose_b = call->attr.matmul.transpose_b;
    d.n = c->dim[c->ndim - 1];
    d.k = b->dim[b->ndim - 2 + d.transpose_b];
    d.batch = b->ndim == 3 ? b->dim[0] : 1;
    d.m = d.batch * d.k > 0 ? a->count / (d.batch * d.k) : 0;
    d.in = a->dtype;
    d.out = c->dtype;
    return d;
}

static dpt_status matmul_prepare(dpt_call *call) {
    const dpt_cuda_product d = product_of(call);
    return dpt_cuda_product_prepare(call, &d);
}

static dpt_status matmul_bind(dpt_call *call) {
    return dpt_cuda_product_bind(call, call->in[0].data, call->in[1].data, call->out[0].data, NULL);
}

static dpt_status matmul_run(dpt_call *call, dpt_stream *stream) {
    const bool contracts = call->out[0].axis < 0 && call->in[0].axis >= 0;
    if (contracts) DPT_TRY(dpt_cuda_zero_padding(call, &call->in[0], &call->in[1], stream));
    return dpt_cuda_product_run(call, stream);
}

DPT_CUDA_KERNEL(matmul, matmul_prepare, matmul_bind, matmul_run, dpt_cuda_product_release)
