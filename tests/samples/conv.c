/* Samples of convolution: see op_samples.h. Each of the three products is reached from either of the others by taking
 * gradients, so that a row covers all of them in its number of dimensions. */
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
static dpt_tensor *conv_leaky(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 4, 3)), *w = any(b, DIMS(5, 2, 3, 1)), *bias = any(b, DIMS(5));
    return dpt_leaky_relu(dpt_conv_with(x, w, bias, (dpt_conv_options){0}), 0.25);
}
/* what is added has the size of the bias, but goes by row */
static dpt_tensor *conv_rows(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 3, 4)), *w = any(b, DIMS(3, 2, 1, 1)), *rows = any(b, DIMS(3));
    return dpt_add(dpt_conv_with(x, w, NULL, (dpt_conv_options){0}), dpt_reshape(rows, DIMS(1, 3, 1)));
}
static dpt_tensor *conv_line(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 4, 9)), *w = any(b, DIMS(6, 2, 3)), *bias = any(b, DIMS(6));
    return dpt_conv_with(x, w, bias, (dpt_conv_options){.stride = 2, .pad = 1, .groups = 2});
}
static dpt_tensor *conv_volume(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 3, 4, 5)), *w = any(b, DIMS(3, 2, 2, 3, 3)), *bias = any(b, DIMS(3));
    const dpt_conv_options options = {.strides = (const int64_t[]){1, 2, 1}, .pads = (const int64_t[]){1, 0, 1}};
    return dpt_conv_with(x, w, bias, options);
}
static dpt_tensor *transpose_line(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 4)), *w = any(b, DIMS(2, 3, 3)), *bias = any(b, DIMS(3));
    return dpt_conv_transpose_with(x, w, bias, (dpt_conv_options){.stride = 1, .pad = 1});
}
static dpt_tensor *transpose_plane(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 4, 3, 2)), *w = any(b, DIMS(4, 2, 3, 2)), *bias = any(b, DIMS(4));
    const dpt_conv_options options = {.stride = 2, .groups = 2, .output_pads = (const int64_t[]){1, 0}};
    return dpt_conv_transpose_with(x, w, bias, options);
}
static dpt_tensor *transpose_volume(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 2, 1, 2)), *w = any(b, DIMS(2, 3, 2, 2, 2)), *bias = any(b, DIMS(3));
    return dpt_conv_transpose_with(x, w, bias, (dpt_conv_options){.stride = 2});
}

static const op_sample rows_of_table[] = {
    CLOSED(CONV, "conv2d", conv_plain),
    CLOSED(CONV_DGRAD, "conv2d, strided, dilated, grouped", conv_strided),
    CLOSED(CONV, "conv2d with leaky ReLU", conv_leaky),
    CLOSED(CONV, "conv2d and values by row", conv_rows),
    CLOSED(CONV_WGRAD, "conv1d, strided, grouped", conv_line),
    CLOSED(CONV_WGRAD, "conv3d, a stride a dimension", conv_volume),
    CLOSED(CONV_DGRAD, "conv_transpose1d", transpose_line),
    CLOSED(CONV_DGRAD, "conv_transpose2d, strided, grouped", transpose_plane),
    CLOSED(CONV_DGRAD, "conv_transpose3d, strided", transpose_volume),
};
SAMPLE_FAMILY(conv)
