/* product.h: products of matrices on the GPU by cuBLASLt: c = op(a) op(b), with what can be done in the same pass, for
 * matmul and the fused linear kernels.
 *
 * A kernel's prepare says what it wants, bind gives the addresses, run queues. Everything that can be chosen (the
 * algorithm, its workspace) is chosen in prepare, once for each shape in a process. Invariant: the plan may do less
 * than was wanted (an epilogue that cuBLASLt lacks for a type, or that would hide a NaN); what dpt_cuda_product_does
 * leaves out the kernel does itself. */
#ifndef DPT_CUDA_PRODUCT_H
#define DPT_CUDA_PRODUCT_H

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a product does beside; `vector` is the bias or the sums, of c's type. */
enum {
    DPT_PRODUCT_BIAS = 1, /* vector [n] is added to every row of c */
    DPT_PRODUCT_RELU = 2, /* then c = max(c, 0), NaN where c is */
    DPT_PRODUCT_SUMS = 4  /* vector[i] = sum over k of op(a)[i,k], vector [m]; alone */
};

/* `batch` products of a [m,k] (stored [k,m] with transpose_a) and b [k,n] (stored [n,k]); c [m,n]. All C order. in: the
 * type of a and b; out: the same, or f32 where that has 16 bits. Sums are f64 for f64, else f32. */
typedef struct dpt_cuda_product {
    int64_t batch, m, n, k;
    bool transpose_a, transpose_b;
    dpt_dtype in, out;
    unsigned with; /* DPT_PRODUCT_*, wanted */
} dpt_cuda_product;

/* Sets the call's plan, and the workspace that it needs. Local.
 * DPT_ERR_SHAPE: an empty matrix, too large a one, types that do not go together. DPT_ERR_DEVICE: cuBLASLt has nothing
 * for it, or fails. */
dpt_status dpt_cuda_product_prepare(dpt_call *call, const dpt_cuda_product *product);
unsigned dpt_cuda_product_does(const dpt_call *call); /* DPT_PRODUCT_* */
/* vector may be NULL where the plan does not use it. */
dpt_status dpt_cuda_product_bind(dpt_call *call, const void *a, const void *b, void *c, void *vector);
dpt_status dpt_cuda_product_run(const dpt_call *call, dpt_stream *stream);
void dpt_cuda_product_release(dpt_call *call);

/* Zeroes the rows of two operands past the valid ones (a library call of fixed shape would let them in); they have the
 * same batch axis, or none. One launch, which ends at once where there are no such rows. */
dpt_status dpt_cuda_zero_padding(const dpt_call *call, const dpt_operand *x, const dpt_operand *y, dpt_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
