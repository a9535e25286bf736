/* cpu_product.h: products of matrices on the CPU, c = op(a) op(b) (+ bias), for matmul and the fused linear ops. f32 by
 * oneDNN with everything chosen ahead; f64 by plain loops, whose number of rows may differ from run to run. */
#ifndef DPT_OPS_CPU_PRODUCT_H
#define DPT_OPS_CPU_PRODUCT_H

#include "ops/cpu_dnnl.h"

/* `batch` products of a [m,k] (stored [k,m] with transpose_a) and b [k,n] (stored [n,k]); c [m,n]. All C order. */
typedef struct dpt_product {
    int64_t batch, m, n, k;
    bool transpose_a, transpose_b;
    bool bias; /* f32 alone: a row [n] is added to every row of c */
} dpt_product;

/* A kernel whose first input is f32 gets the product as its plan, and the workspace that this needs; for f64 the plan
 * stays NULL. run is dpt_dnnl_run(call->plan, ...). */
dpt_status dpt_product_prepare(dpt_call *call, const dpt_product *product);
dpt_status dpt_product_bind(dpt_call *call, const void *bias, void *c); /* a, b: the call's inputs 0 and 1 */
void dpt_product_release(dpt_call *call);

/* An f64 product without bias. Sums over k in one order, whatever the threads. */
void dpt_product_f64(int threads, const dpt_product *product, const double *a, const double *b, double *c);

#endif
