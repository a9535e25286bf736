/* conv_few.h: weight gradients of convolutions whose input has few channels, such as a network's first layer, in f32 on
 * the CPU: where oneDNN reaches a tenth of what the processor can do. */
#ifndef DPT_OPS_CONV_FEW_H
#define DPT_OPS_CONV_FEW_H

#include "ops/conv_cpu.h"

/* The layout of g that the processor's vectors want: blocks of 8 or 16 channels. */
dpt_layout dpt_conv_few_layout(void);
/* Whether the kernel makes the weight gradient of this convolution. */
bool dpt_conv_few_takes(const dpt_conv_sizes *s);
size_t dpt_conv_few_workspace(const dpt_conv_sizes *s, int threads);
/* dw [O, C, K] of x [rows, C, S] and g [rows, O, S'] in the layout above. Only the first `rows` rows, which may be
 * none, are read. The order of sums depends on the sizes alone. */
void dpt_conv_few_wgrad(const dpt_conv_sizes *s, int64_t rows, int threads, const float *x, const float *g, float *dw,
                        void *workspace);

#endif
