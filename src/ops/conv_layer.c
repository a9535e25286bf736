/* conv_layer.c: constructors of convolutions in 1 to 3 dimensions and of their transposes. The operations: conv.c.
 *
 * A transposed convolution from x [B, C, S] to y [B, out, S'] is the data gradient of the convolution from y to x whose
 * weight is [C, out/groups, kernel]: one conv_dgrad node, so it has every derivative, layout and kernel of that.
 * Everything that a caller can get wrong is refused here, before a parameter is made, in the layer's own terms; the
 * shape rules of conv.c hold what gradients and passes append to the same. */
#include <string.h>

#include "base/memory.h"
#include "ops/internal.h"

/* One layer under construction. */
typedef struct layer {
    const char *file;
    int line;
    const char *name; /* or NULL */
    bool transposed;
    dpt_tensor *x;
    const dpt_conv_options *o;
    int spatial;
} layer;

static int64_t or_one(int64_t value) { return value == 0 ? 1 : value; }
static int64_t at(const int64_t *list, int i, int64_t all) { return list ? list[i] : all; }
static int64_t groups_of(const layer *l) { return or_one(l->o->groups); }
static int64_t stride_of(const layer *l, int i) { return or_one(at(l->o->strides, i, l->o->stride)); }

/* The poison tensor, after `conv "name": x is f32 [B,3,8,8]<rest>`. */
#define REFUSE(l, code, ...) refuse((l), (code), dpt_format(__VA_ARGS__))
static dpt_tensor *refuse(const layer *l, dpt_status code, char *rest) {
    const char *what = l->transposed ? "conv_transpose" : "conv";
    dpt_graph *g = l->x->graph;
    dpt_graph_fail(g, l->file, l->line, rest ? code : DPT_ERR_MEMORY, "%s%s%s%s: x is %s %s%s", what,
                   l->name ? " \"" : "", l->name ? l->name : "", l->name ? "\"" : "", dpt_dtype_text(l->x->dtype),
                   dpt_shape_text(l->x), rest ? rest : "");
    dpt_free(rest);
    return &g->poison;
}

/* What holds for every convolution, whatever its weight. NULL: it does. */
static dpt_tensor *check_input(const layer *l, int wanted) {
    static const char *const numbers[] = {"1 to 3 spatial dimensions", "1 spatial dimension", "2 spatial dimensions",
                                          "3 spatial dimensions"};
    const dpt_tensor *x = l->x;
    if (l->spatial < 1 || l->spatial > DPT_MAX_SPATIAL || !dpt_is_float(x->dtype) ||
        (wanted != 0 && l->spatial != wanted))
        return REFUSE(l, DPT_ERR_SHAPE, ": it must be [B,C,spatial] of floats with %s", numbers[wanted]);
    if (groups_of(l) < 1 || x->dim[1] % groups_of(l) != 0)
        return REFUSE(l, DPT_ERR_SHAPE, ": groups %lld do not divide its %lld channels", (long long)groups_of(l),
                      (long long)x->dim[1]);
    for (int i = 0; i < l->spatial; i++) {
        const int64_t pad = at(l->o->pads, i, l->o->pad), dilation = or_one(at(l->o->dilations, i, l->o->dilation));
        if (stride_of(l, i) < 1 || pad < 0 || dilation < 1)
            return REFUSE(l, DPT_ERR_SHAPE, ", stride is %lld, dilation %lld, pad %lld: at least 1, 1 and 0",
                          (long long)stride_of(l, i), (long long)dilation, (long long)pad);
        const int64_t end = at(l->o->output_pads, i, 0);
        if (end < 0 || (l->transposed ? end >= stride_of(l, i) : end != 0))
            return REFUSE(l, DPT_ERR_SHAPE, ", output_pad is %lld with stride %lld: %s", (long long)end,
                          (long long)stride_of(l, i),
                          l->transposed ? "at least 0 and below the stride" : "only a transposed convolution has one");
    }
    return NULL;
}

/* Stride, padding, dilation, groups and kernel; w has x's number of dimensions. */
static dpt_conv_attr steps_of(const layer *l, const dpt_tensor *w) {
    dpt_conv_attr a = {.spatial = l->spatial, .groups = groups_of(l)};
    for (int i = 0; i < l->spatial; i++) {
        a.kernel[i] = w->dim[2 + i];
        a.stride[i] = stride_of(l, i);
        a.pad[i] = at(l->o->pads, i, l->o->pad);
        a.dilation[i] = or_one(at(l->o->dilations, i, l->o->dilation));
    }
    memcpy(a.weight_dim, w->dim, (size_t)(2 + l->spatial) * sizeof *a.weight_dim);
    return a;
}

static dpt_tensor *check_weight(const layer *l, const dpt_tensor *w, const dpt_tensor *b) {
    const dpt_tensor *x = l->x;
    const int64_t channels = x->dim[1], groups = groups_of(l);
    const bool ranks = w->ndim == x->ndim && !dpt_has_batch(w);
    if (!ranks || w->dtype != x->dtype || (l->transposed ? w->dim[0] != channels : w->dim[1] * groups != channels))
        return REFUSE(l, DPT_ERR_SHAPE, ", w is %s %s, groups %lld: w must be [%s] of the same type",
                      dpt_dtype_text(w->dtype), dpt_shape_text(w), (long long)groups,
                      l->transposed ? "C,out/groups,kernel" : "out,C/groups,kernel");
    const int64_t out = l->transposed ? w->dim[1] * groups : w->dim[0];
    if (out % groups != 0)
        return REFUSE(l, DPT_ERR_SHAPE, ", w is %s: groups %lld do not divide its %lld outputs", dpt_shape_text(w),
                      (long long)groups, (long long)out);
    if (b && (b->ndim != 1 || b->dim[0] != out || b->dtype != x->dtype))
        return REFUSE(l, DPT_ERR_SHAPE, ", w is %s, b is %s %s: b must be [%lld] of the same type", dpt_shape_text(w),
                      dpt_dtype_text(b->dtype), dpt_shape_text(b), (long long)out);
    return NULL;
}

/* Sizes of the larger side of a transposed convolution: of its result. */
static dpt_tensor *transposed_sizes(const layer *l, dpt_conv_attr *a) {
    a->in_dim[0] = l->x->dim[0];
    a->in_dim[1] = a->weight_dim[1] * a->groups;
    for (int i = 0; i < l->spatial; i++) {
        const int64_t size = l->x->dim[2 + i];
        a->in_dim[2 + i] = (size - 1) * a->stride[i] - 2 * a->pad[i] + a->dilation[i] * (a->kernel[i] - 1) +
                           at(l->o->output_pads, i, 0) + 1;
        if (size < 1 || a->kernel[i] < 1 || a->in_dim[2 + i] < 1)
            return REFUSE(l, DPT_ERR_SHAPE,
                          ", kernel is %lld, stride %lld, pad %lld: nothing is left of spatial dimension %d",
                          (long long)a->kernel[i], (long long)a->stride[i], (long long)a->pad[i], i);
    }
    return NULL;
}

static dpt_tensor *plain_sizes(const layer *l, dpt_conv_attr *a) {
    memcpy(a->in_dim, l->x->dim, (size_t)(2 + l->spatial) * sizeof *a->in_dim);
    for (int i = 0; i < l->spatial; i++) {
        const int64_t size = l->x->dim[2 + i], reach = a->dilation[i] * (a->kernel[i] - 1) + 1;
        if (a->kernel[i] < 1 || size + 2 * a->pad[i] < reach)
            return REFUSE(l, DPT_ERR_SHAPE,
                          ": size %lld with pad %lld is smaller than a kernel of %lld with dilation %lld",
                          (long long)size, (long long)a->pad[i], (long long)a->kernel[i], (long long)a->dilation[i]);
    }
    return NULL;
}

/* The node, with the bias added; x and the options are checked. */
static dpt_tensor *apply(const layer *l, dpt_tensor *w, dpt_tensor *b) {
    if (dpt_is_poison(w) || (b && dpt_is_poison(b))) return &l->x->graph->poison;
    dpt_tensor *wrong = check_weight(l, w, b);
    if (wrong) return wrong;
    dpt_attr attr = {.conv = steps_of(l, w)};
    wrong = l->transposed ? transposed_sizes(l, &attr.conv) : plain_sizes(l, &attr.conv);
    if (wrong) return wrong;
    const int op = l->transposed ? DPT_OP_CONV_DGRAD : DPT_OP_CONV;
    dpt_tensor *y = dpt_apply(l->file, l->line, op, l->name, &attr, 2, (dpt_tensor *[]){l->x, w});
    if (b == NULL || dpt_is_poison(y)) return y;
    const int64_t column[1 + DPT_MAX_SPATIAL] = {b->dim[0], 1, 1, 1};
    return dpt_add_at(l->file, l->line, y, dpt_reshape_at(l->file, l->line, b, 1 + l->spatial, column));
}

/* Parameters "<name>.weight" and "<name>.bias", started as PyTorch does: fan-in is what stands behind w's first
 * dimension, also where that is not the output. */
static dpt_tensor *apply_new(const layer *l, int64_t out, int64_t kernel, int bias) {
    dpt_graph *g = l->x->graph;
    const int64_t groups = groups_of(l), channels = l->x->dim[1];
    if (l->name == NULL) return REFUSE(l, DPT_ERR_ARG, ": the layer needs a name");
    if (out < 1 || out % groups != 0)
        return REFUSE(l, DPT_ERR_SHAPE, ", out is %lld: groups %lld do not divide it", (long long)out,
                      (long long)groups);
    int64_t dim[2 + DPT_MAX_SPATIAL] = {out, channels / groups}, fan_in;
    if (l->transposed) dim[0] = channels, dim[1] = out / groups;
    fan_in = dim[1];
    for (int i = 0; i < l->spatial; i++) {
        dim[2 + i] = at(l->o->kernels, i, kernel);
        if (dim[2 + i] < 1) return REFUSE(l, DPT_ERR_SHAPE, ", kernel is %lld: at least 1", (long long)dim[2 + i]);
        fan_in *= dim[2 + i];
    }
    char *weight_name = dpt_format("%s.weight", l->name), *bias_name = dpt_format("%s.bias", l->name);
    dpt_tensor *y = &g->poison;
    if (weight_name && bias_name) {
        const dpt_init kaiming = {DPT_INIT_KAIMING_UNIFORM, 0.57735026918962576, 0}; /* a = 1/sqrt(3) */
        const dpt_init uniform = {DPT_INIT_FAN_IN_UNIFORM, 0, (double)fan_in};
        dpt_tensor *w = dpt_param_at(l->file, l->line, g, weight_name, l->x->dtype, 2 + l->spatial, dim, kaiming);
        dpt_tensor *b = bias ? dpt_param_at(l->file, l->line, g, bias_name, l->x->dtype, 1, &out, uniform) : NULL;
        y = apply(l, w, b);
    } else {
        dpt_graph_fail(g, l->file, l->line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    }
    dpt_free(weight_name);
    dpt_free(bias_name);
    return y;
}

/* ---- public ---- */

static dpt_tensor *with(layer l, dpt_tensor *w, dpt_tensor *b) {
    if (dpt_is_poison(l.x)) return &l.x->graph->poison;
    dpt_tensor *wrong = check_input(&l, 0);
    return wrong ? wrong : apply(&l, w, b);
}

static dpt_tensor *with_new(layer l, int wanted, int64_t out, int64_t kernel, int bias) {
    if (dpt_is_poison(l.x)) return &l.x->graph->poison;
    dpt_tensor *wrong = check_input(&l, wanted);
    return wrong ? wrong : apply_new(&l, out, kernel, bias);
}

dpt_tensor *dpt_conv_with_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b, dpt_conv_options options) {
    return with((layer){file, line, NULL, false, x, &options, x->ndim - 2}, w, b);
}

dpt_tensor *dpt_conv_at(DPT_PLACE_ARGS, int spatial, dpt_tensor *x, int64_t out, int64_t kernel, int bias,
                        dpt_conv_options options, const char *name) {
    return with_new((layer){file, line, name, false, x, &options, x->ndim - 2}, spatial, out, kernel, bias);
}

dpt_tensor *dpt_conv_transpose_with_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b,
                                       dpt_conv_options options) {
    return with((layer){file, line, NULL, true, x, &options, x->ndim - 2}, w, b);
}

dpt_tensor *dpt_conv_transpose_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t out, int64_t kernel, int bias,
                                  dpt_conv_options options, const char *name) {
    return with_new((layer){file, line, name, true, x, &options, x->ndim - 2}, 0, out, kernel, bias);
}
