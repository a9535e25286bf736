/* dnn.h: convolutions by cuDNN: the only file that knows it is dnn.c, and the tests put another in its place.
 *
 * cuDNN is opened when it is first asked for; where it is missing, or has nothing for a shape, the caller makes the
 * convolution itself (im2col.cu). A plan is chosen once for each shape and kept until the process ends. Invariants:
 * only engines whose bits repeat from run to run; f32 is multiplied in f32 unless the call allows TF32; a ReLU is only
 * part of a plan that was seen to keep NaN. */
#ifndef DPT_CUDA_DNN_H
#define DPT_CUDA_DNN_H

#include "cuda/cuda.h"
#include "ops/conv_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One convolution, or a gradient of one. x, w, y all have the same layout: canonical [N,C,...], [O,C/g,...],
 * [N,O,...], or channels-last [N,...,C], [O,...,C/g], [N,...,O]. */
typedef struct dpt_dnn_conv {
    dpt_conv_kind kind;
    dpt_conv_sizes sizes;
    int spatial;
    dpt_dtype in, out; /* of both operands and of the result, which may be f32 where the operands have 16 bits */
    bool channels_last;
    bool bias, relu; /* y = conv + b [O], of type `in`; y = slope y where y < 0, NaN where y is. Forward only. */
    double slope;    /* 0 without relu */
} dpt_dnn_conv;

typedef struct dpt_dnn_plan dpt_dnn_plan;

/* Whether there is a cuDNN. DPTRAIN_CUDNN=0 in the environment: there is none. */
bool dpt_dnn_available(void);

/* The plan, and the workspace that it needs; NULL where cuDNN has nothing for it. The plan is borrowed. Waits for the
 * device where candidates are tried out. DPT_ERR_DEVICE: cuDNN fails. */
dpt_status dpt_dnn_conv_prepare(const dpt_call *call, const dpt_dnn_conv *conv, const dpt_dnn_plan **plan,
                                size_t *workspace_bytes);
/* Queues it. bias: NULL where the plan has none. */
dpt_status dpt_dnn_conv_run(const dpt_dnn_plan *plan, void *x, void *w, void *y, const void *bias, void *workspace,
                            dpt_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
