/* product_trial.h: what product.c and product_trial.c share: the plan of a product, and trying algorithms out for it.
 */
#ifndef DPT_CUDA_PRODUCT_TRIAL_H
#define DPT_CUDA_PRODUCT_TRIAL_H

#include <cublasLt.h>

#include "cuda/product.h"

enum { DPT_PRODUCT_KEY = 12 };

/* What was found for a product. */
typedef struct product_choice {
    struct product_choice *next;
    int64_t key[DPT_PRODUCT_KEY]; /* all that it depends on */
    bool supported;               /* else cuBLASLt has nothing, or nothing that may be used */
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
} product_choice;

typedef struct product_plan {
    cublasLtHandle_t handle; /* borrowed, until the process ends */
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c; /* of our a and b: cuBLASLt's B and A */
    product_choice chosen;
    unsigned with; /* DPT_PRODUCT_* */
    bool f64;
    const void *a_data, *b_data;
    void *c_data;
} product_plan;

/* Queues c = op(a) op(b); c is not read. */
cublasStatus_t dpt_cuda_product_queue(const product_plan *plan, const product_choice *chosen, const void *a,
                                      const void *b, void *c, void *workspace, dpt_stream *stream);
/* The address of the bias or of the sums. */
dpt_status dpt_cuda_product_set_vector(const product_plan *plan, const void *vector);

/* Runs the algorithms of a list on memory of their own, which is given back before it returns. best: the first of the
 * list, or with `timed` the fastest, -1 where all refuse; keeps_nan: with ReLU, whether a product of NaN is NaN with
 * it. DPT_ERR_MEMORY: the device has no room for the operands. */
dpt_status dpt_cuda_product_try(const dpt_call *call, const dpt_cuda_product *product, const product_plan *plan,
                                const product_choice *list, int count, bool timed, int *best, bool *keeps_nan);

#endif
