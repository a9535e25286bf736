/* Samples of convolution: see op_samples.h. */
#include "samples/samples.h"

static dpt_tensor *conv_plain(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 5, 4)), *w = any(b, DIMS(3, 2, 3, 3)), *bias = any(b, DIMS(3));
    return dpt_conv_with(x, w, bias, (dpt_conv_options){.pad = 1});
}
static dpt_tensor *conv_strided(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 4, 6, 5)), *w = any(b, DIMS(4, 2, 2, 2));
    const dpt_conv_options options = {.stride = 2, .pad = 1, .dilation = 2, .groups = 2};
    return dpt_conv_with(x, w, NULL, options);
}
static const op_sample rows_of_table[] = {
    CLOSED(CONV, "conv2d", conv_plain),
    CLOSED(CONV_DGRAD, "conv2d, strided, dilated, grouped", conv_strided),
    CLOSED(CONV_WGRAD, "conv2d, strided, dilated, grouped", conv_strided),
};
SAMPLE_FAMILY(layers)
