/* im2col.h: convolutions without cuDNN: windows of x written out as the rows of a matrix, and products by cuBLASLt. Any
 * type, stride, padding, dilation, groups, and 1 to 3 dimensions. Beside cuDNN this is what f64 goes through. */
#ifndef DPT_CUDA_IM2COL_H
#define DPT_CUDA_IM2COL_H

#include "cuda/cuda.h"
#include "ops/conv_cpu.h"

/* One convolution: where x and y are channels-last, and the types of the operands and of the result. w is canonical. */
typedef struct dpt_im2col_conv {
    dpt_conv_kind kind;
    dpt_conv_sizes sizes;
    bool x_last, y_last;
    dpt_dtype in, out;
} dpt_im2col_conv;

typedef struct dpt_im2col dpt_im2col;

/* Makes the plan, and says what workspace it needs. DPT_ERR_UNSUPPORTED: the windows of one sample are more than 2^31
 * elements. The caller closes it; NULL is fine. */
dpt_status dpt_im2col_open(const dpt_call *call, const dpt_im2col_conv *conv, dpt_im2col **plan,
                           size_t *workspace_bytes);
/* Queues it: whichever of x, w, y the kind computes is written. */
dpt_status dpt_im2col_run(dpt_im2col *plan, const dpt_call *call, void *x, void *w, void *y, void *workspace,
                          dpt_stream *stream);
void dpt_im2col_close(dpt_im2col **plan);

#endif
