/* layer_types.c: see layer_types.h. Builders hand the list's file and line to the graph's own constructors, so that
 * what does not fit is reported there in their words. */
#include "models/layer_types.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/layer_list.h"

#define PLACE c->file, c->line

int dpt_layer_option_find(const dpt_layer_type *type, const char *name) {
    for (int i = 0; type->option[i].kind != DPT_OPTION_NONE; i++)
        if (strcmp(type->option[i].name, name) == 0) return i;
    return -1;
}

static double number(const dpt_layer_call *c, const char *name) {
    int i = dpt_layer_option_find(c->type, name);
    return c->value[i].count ? c->value[i].number[0] : c->type->option[i].initial;
}

static int64_t integer(const dpt_layer_call *c, const char *name) {
    double x = number(c, name);
    return x == DPT_LAYER_CLASSES ? c->classes : (int64_t)x;
}
static int spatial(const dpt_layer_call *c) { return c->from[0]->ndim - 2; }

static dpt_tensor *fail(const dpt_layer_call *c, const char *text) {
    return dpt_graph_fail(c->graph, PLACE, DPT_ERR_SHAPE, "%s \"%s\": %s", c->type->name, c->name, text);
}

static dpt_tensor *fail_count(const dpt_layer_call *c, const char *option, int count) {
    char text[200];
    snprintf(text, sizeof text, "%s has %d numbers, but x is %s", option, count, dpt_shape_text(c->from[0]));
    return fail(c, text);
}

/* What a list gives for each of the spatial dimensions; NULL where it was one number for all, or does not fit. */
static const int64_t *list(const dpt_layer_call *c, const char *name, int64_t out[DPT_LAYER_SIZES]) {
    const dpt_layer_value *v = &c->value[dpt_layer_option_find(c->type, name)];
    if (v->count <= 1) return NULL;
    for (int k = 0; k < v->count; k++) out[k] = (int64_t)v->number[k];
    if (v->count == spatial(c)) return out;
    fail_count(c, name, v->count);
    return NULL;
}

/* Parameter "<layer>.<what>" of the layer that is shared; NULL: it has none. */
static dpt_tensor *shared_param(const dpt_layer_call *c, const char *what) {
    char name[160];
    snprintf(name, sizeof name, "%s.%s", c->shared, what);
    const dpt_param_info *p = dpt_graph_find_param(c->graph, name);
    return p ? p->tensor : NULL;
}

/* ---- builders ---- */

static dpt_tensor *linear(const dpt_layer_call *c) {
    if (c->shared) return dpt_linear_with_at(PLACE, c->from[0], shared_param(c, "weight"), shared_param(c, "bias"));
    return dpt_linear_at(PLACE, c->from[0], integer(c, "out"), c->name);
}

/* What the convolutions share. */
#define CONV_OPTIONS                                                                                           \
    int64_t kernel[DPT_LAYER_SIZES], stride[DPT_LAYER_SIZES], pad[DPT_LAYER_SIZES], dilation[DPT_LAYER_SIZES]; \
    dpt_conv_options o = {.stride = integer(c, "stride"),                                                      \
                          .pad = integer(c, "pad"),                                                            \
                          .dilation = integer(c, "dilation"),                                                  \
                          .groups = integer(c, "groups"),                                                      \
                          .strides = list(c, "stride", stride),                                                \
                          .pads = list(c, "pad", pad),                                                         \
                          .dilations = list(c, "dilation", dilation),                                          \
                          .kernels = list(c, "kernel", kernel)}

static dpt_tensor *conv(const dpt_layer_call *c) {
    CONV_OPTIONS;
    if (c->shared) return dpt_conv_with_at(PLACE, c->from[0], shared_param(c, "weight"), shared_param(c, "bias"), o);
    return dpt_conv_at(PLACE, 0, c->from[0], integer(c, "out"), integer(c, "kernel"), number(c, "bias") != 0, o,
                       c->name);
}

static dpt_tensor *conv_transpose(const dpt_layer_call *c) {
    CONV_OPTIONS;
    int64_t output_pad[DPT_LAYER_SIZES];
    o.output_pads = list(c, "output_pad", output_pad);
    if (o.output_pads == NULL && integer(c, "output_pad") > 0) {
        for (int i = 0; i < DPT_LAYER_SIZES; i++) output_pad[i] = integer(c, "output_pad");
        o.output_pads = output_pad;
    }
    if (c->shared)
        return dpt_conv_transpose_with_at(PLACE, c->from[0], shared_param(c, "weight"), shared_param(c, "bias"), o);
    return dpt_conv_transpose_at(PLACE, c->from[0], integer(c, "out"), integer(c, "kernel"), number(c, "bias") != 0, o,
                                 c->name);
}

static dpt_tensor *pool(const dpt_layer_call *c, bool largest) {
    int64_t kernel[DPT_LAYER_SIZES], stride[DPT_LAYER_SIZES], pad[DPT_LAYER_SIZES];
    const dpt_pool_options o = {.kernel = integer(c, "kernel"),
                                .stride = integer(c, "stride"),
                                .pad = integer(c, "pad"),
                                .kernels = list(c, "kernel", kernel),
                                .strides = list(c, "stride", stride),
                                .pads = list(c, "pad", pad),
                                .ceil = number(c, "ceil") != 0,
                                .exclude_pad = !largest && number(c, "exclude_pad") != 0};
    return largest ? dpt_max_pool_at(PLACE, c->from[0], o) : dpt_avg_pool_at(PLACE, c->from[0], o);
}
static dpt_tensor *max_pool(const dpt_layer_call *c) { return pool(c, true); }
static dpt_tensor *avg_pool(const dpt_layer_call *c) { return pool(c, false); }

/* `size` for each spatial dimension. */
static const int64_t *target_size(const dpt_layer_call *c, int64_t out[DPT_LAYER_SIZES]) {
    const int64_t *listed = list(c, "size", out);
    for (int i = 0; !listed && i < DPT_LAYER_SIZES; i++) out[i] = integer(c, "size");
    return out;
}

static dpt_tensor *adaptive_max_pool(const dpt_layer_call *c) {
    int64_t size[DPT_LAYER_SIZES];
    return dpt_adaptive_max_pool_at(PLACE, c->from[0], target_size(c, size));
}
static dpt_tensor *adaptive_avg_pool(const dpt_layer_call *c) {
    int64_t size[DPT_LAYER_SIZES];
    return dpt_adaptive_avg_pool_at(PLACE, c->from[0], target_size(c, size));
}
static dpt_tensor *resample(const dpt_layer_call *c) {
    int64_t size[DPT_LAYER_SIZES];
    return dpt_resample_at(PLACE, c->from[0], target_size(c, size), (dpt_resample_mode)number(c, "mode"));
}

static dpt_tensor *leaky_relu(const dpt_layer_call *c) {
    return dpt_leaky_relu_at(PLACE, c->from[0], number(c, "slope"));
}

static dpt_tensor *batch_norm(const dpt_layer_call *c) {
    const dpt_batch_norm_options o = {
        .eps = number(c, "eps"), .momentum = number(c, "momentum"), .sync = number(c, "sync") != 0};
    return dpt_batch_norm_at(PLACE, c->from[0], o, c->name);
}

static dpt_tensor *layer_norm(const dpt_layer_call *c) {
    return dpt_layer_norm_at(PLACE, c->from[0], (int)integer(c, "dims"), number(c, "eps"), c->name);
}
static dpt_tensor *rms_norm(const dpt_layer_call *c) {
    return dpt_rms_norm_at(PLACE, c->from[0], (int)integer(c, "dims"), number(c, "eps"), c->name);
}
static dpt_tensor *group_norm(const dpt_layer_call *c) {
    return dpt_group_norm_at(PLACE, c->from[0], integer(c, "groups"), number(c, "eps"), c->name);
}

static dpt_tensor *concat(const dpt_layer_call *c) {
    return dpt_concat_at(PLACE, c->from, c->n_from, (int)integer(c, "axis"));
}
static dpt_tensor *slice(const dpt_layer_call *c) {
    return dpt_slice_at(PLACE, c->from[0], (int)integer(c, "axis"), integer(c, "begin"), integer(c, "end"),
                        integer(c, "step"));
}
static dpt_tensor *pad(const dpt_layer_call *c) {
    return dpt_pad_at(PLACE, c->from[0], (int)integer(c, "axis"), integer(c, "before"), integer(c, "after"),
                      number(c, "value"));
}

/* Dimension i + 1 of the result is dimension order[i]; samples stay first. */
static dpt_tensor *transpose(const dpt_layer_call *c) {
    const dpt_layer_value *listed = &c->value[dpt_layer_option_find(c->type, "order")];
    int order[DPT_LAYER_SIZES + 1] = {0};
    if (listed->count + 1 != c->from[0]->ndim) return fail_count(c, "order", listed->count);
    for (int i = 0; i < listed->count; i++) order[i + 1] = (int)listed->number[i];
    return dpt_transpose_at(PLACE, c->from[0], order);
}

/* `axes` as bits. */
static uint32_t axes(const dpt_layer_call *c) {
    const dpt_layer_value *listed = &c->value[dpt_layer_option_find(c->type, "axes")];
    uint32_t bits = 0;
    for (int i = 0; i < listed->count; i++) bits |= 1U << (int)listed->number[i];
    return bits;
}
#define REDUCTION(name)                                                             \
    static dpt_tensor *name(const dpt_layer_call *c) {                              \
        return dpt_##name##_at(PLACE, c->from[0], axes(c), number(c, "keep") != 0); \
    }
REDUCTION(mean)
REDUCTION(sum)
REDUCTION(max)
REDUCTION(min)

static dpt_tensor *power(const dpt_layer_call *c) { return dpt_power_at(PLACE, c->from[0], number(c, "exponent")); }
static dpt_tensor *clamp(const dpt_layer_call *c) {
    return dpt_clamp_at(PLACE, c->from[0], number(c, "low"), number(c, "high"));
}

static dpt_tensor *dropout(const dpt_layer_call *c) {
    return dpt_dropout_at(PLACE, c->from[0], number(c, "probability"), c->name);
}

static dpt_tensor *dropout_channels(const dpt_layer_call *c) {
    return dpt_dropout_channels_at(PLACE, c->from[0], number(c, "probability"), c->name);
}

static dpt_tensor *reshape(const dpt_layer_call *c) {
    const dpt_layer_value *shape = &c->value[dpt_layer_option_find(c->type, "shape")];
    int64_t dim[DPT_LAYER_SIZES + 1] = {c->from[0]->dim[0]};
    for (int i = 0; i < shape->count; i++) dim[i + 1] = (int64_t)shape->number[i];
    return dpt_reshape_at(PLACE, c->from[0], shape->count + 1, dim);
}

static dpt_tensor *scale(const dpt_layer_call *c) { return dpt_scale_at(PLACE, c->from[0], number(c, "value")); }
static dpt_tensor *offset(const dpt_layer_call *c) { return dpt_offset_at(PLACE, c->from[0], number(c, "value")); }

/* Layers of one operand and no options; of two or more, from left to right. */
#define UNARY(name) \
    static dpt_tensor *name##_layer(const dpt_layer_call *c) { return dpt_##name##_at(PLACE, c->from[0]); }
#define FOLD(name)                                                                     \
    static dpt_tensor *name##_layer(const dpt_layer_call *c) {                         \
        dpt_tensor *x = c->from[0];                                                    \
        for (int i = 1; i < c->n_from; i++) x = dpt_##name##_at(PLACE, x, c->from[i]); \
        return x;                                                                      \
    }
UNARY(relu)
UNARY(tanh)
UNARY(gelu)
UNARY(sqrt)
UNARY(softmax)
UNARY(flatten)
UNARY(log_softmax)
UNARY(sigmoid)
UNARY(silu)
UNARY(softplus)
UNARY(exp)
UNARY(ln)
UNARY(sin)
UNARY(cos)
UNARY(abs)
UNARY(global_avg_pool)
FOLD(add)
FOLD(sub)
FOLD(mul)
FOLD(div)

/* A vector for each integer: x is of u8, i32 or i64. */
static dpt_tensor *embedding(const dpt_layer_call *c) {
    if (c->shared) return dpt_embedding_with_at(PLACE, c->from[0], shared_param(c, "weight"));
    return dpt_embedding_at(PLACE, c->from[0], integer(c, "count"), integer(c, "out"), c->name);
}

/* ---- the table ---- */

// clang-format off
#define MOST 1073741824.0
#define LEAST 1e-30 /* 0 would be taken for "not given" */
#define INT(name, initial, low) {name, DPT_OPTION_INT, false, initial, low, MOST, NULL, false}
#define SIZES(name, initial, low) {name, DPT_OPTION_SIZES, false, initial, low, MOST, NULL, false}
#define NUMBER(name, initial, low, high) {name, DPT_OPTION_NUMBER, false, initial, low, high, NULL, false}
#define FLAG(name, initial) {name, DPT_OPTION_FLAG, false, initial, 0, 1, NULL, false}
#define NEEDED(name, kind, low, high) {name, kind, true, 0, low, high, NULL, false}
#define OF_PARAMETERS(name, kind) {name, kind, true, 0, 1, MOST, NULL, true}
#define CONV_ROWS \
    OF_PARAMETERS("out", DPT_OPTION_INT), OF_PARAMETERS("kernel", DPT_OPTION_SIZES), SIZES("stride", 1, 1), \
        SIZES("pad", 0, 0), SIZES("dilation", 1, 1), INT("groups", 1, 1), \
        {"bias", DPT_OPTION_FLAG, false, 1, 0, 1, NULL, true}
#define POOL_ROWS \
    NEEDED("kernel", DPT_OPTION_SIZES, 1, MOST), SIZES("stride", 0, 0), SIZES("pad", 0, 0), FLAG("ceil", 0)
#define REDUCTION_ROW(name, help) \
    {#name, help, name, 1, 1, false, {NEEDED("axes", DPT_OPTION_SIZES, 1, DPT_MAX_NDIM - 1), FLAG("keep", 0)}}
#define NO_OPTIONS {{NULL, DPT_OPTION_NONE, false, 0, 0, 0, NULL, false}}
#define PLAIN(name, help) {#name, help, name##_layer, 1, 1, false, NO_OPTIONS}
#define SEVERAL(name, help, most) {#name, help, name##_layer, 2, most, false, NO_OPTIONS}

const dpt_layer_type dpt_layer_types[] = {
    {"linear", "out sums over the last dimension, plus a bias", linear, 1, 1, true, {OF_PARAMETERS("out", DPT_OPTION_INT)}},
    {"conv", "convolution in 1, 2 or 3 dimensions", conv, 1, 1, true, {CONV_ROWS}},
    {"conv_transpose", "transposed convolution", conv_transpose, 1, 1, true, {CONV_ROWS, SIZES("output_pad", 0, 0)}},
    {"max_pool", "largest value of each window; stride 0: as kernel", max_pool, 1, 1, false, {POOL_ROWS}},
    {"avg_pool", "mean of each window", avg_pool, 1, 1, false, {POOL_ROWS, FLAG("exclude_pad", 0)}},
    {"adaptive_max_pool", "largest value of as many windows as size says", adaptive_max_pool, 1, 1, false,
     {NEEDED("size", DPT_OPTION_SIZES, 1, MOST)}},
    {"adaptive_avg_pool", "mean of as many windows as size says", adaptive_avg_pool, 1, 1, false,
     {NEEDED("size", DPT_OPTION_SIZES, 1, MOST)}},
    PLAIN(global_avg_pool, "mean over all positions"),
    {"resample", "to another size, by the nearest position or linearly", resample, 1, 1, false,
     {NEEDED("size", DPT_OPTION_SIZES, 1, MOST),
      {"mode", DPT_OPTION_WORD, false, 0, 0, 2, "nearest|linear|linear_corners", false}}},
    {"batch_norm", "normalised by the batch's statistics, those of all ranks with sync", batch_norm, 1, 1, false,
     {NUMBER("eps", 1e-5, LEAST, 1), NUMBER("momentum", 0.1, LEAST, 1), FLAG("sync", 0)}},
    {"layer_norm", "normalised over the last `dims` dimensions of each sample", layer_norm, 1, 1, false,
     {INT("dims", 1, 1), NUMBER("eps", 1e-5, LEAST, 1)}},
    {"rms_norm", "divided by the root of the mean square over the last `dims` dimensions", rms_norm, 1, 1, false,
     {INT("dims", 1, 1), NUMBER("eps", 1e-5, LEAST, 1)}},
    {"group_norm", "normalised over each of `groups` groups of channels and their positions", group_norm, 1, 1, false,
     {NEEDED("groups", DPT_OPTION_INT, 1, MOST), NUMBER("eps", 1e-5, LEAST, 1)}},
    {"embedding", "a vector of `out` numbers, to be learned, for each integer from 0 to count-1, along a new last dimension; "
     "of an input of `type: i64` or another integer", embedding, 1, 1, true,
     {OF_PARAMETERS("count", DPT_OPTION_INT), OF_PARAMETERS("out", DPT_OPTION_INT)}},
    {"dropout", "zero with this probability in training", dropout, 1, 1, false,
     {NEEDED("probability", DPT_OPTION_NUMBER, 0, 1)}},
    {"dropout_channels", "the same of whole channels", dropout_channels, 1, 1, false,
     {NEEDED("probability", DPT_OPTION_NUMBER, 0, 1)}},
    PLAIN(relu, "max(x, 0)"),
    {"leaky_relu", "x, slope times x below 0", leaky_relu, 1, 1, false, {NUMBER("slope", 0.01, 0, MOST)}},
    PLAIN(tanh, "hyperbolic tangent"),
    PLAIN(gelu, "x times the normal distribution's Phi(x)"),
    PLAIN(sigmoid, "1 / (1 + exp(-x))"),
    PLAIN(silu, "x times sigmoid(x)"),
    PLAIN(softplus, "log(1 + exp(x))"),
    PLAIN(exp, "e to the x"),
    PLAIN(ln, "natural logarithm"),
    PLAIN(sin, "sine"),
    PLAIN(cos, "cosine"),
    PLAIN(abs, "absolute value"),
    PLAIN(sqrt, "square root"),
    {"power", "x to the given power", power, 1, 1, false, {NEEDED("exponent", DPT_OPTION_NUMBER, -MOST, MOST)}},
    {"clamp", "kept between low and high", clamp, 1, 1, false,
     {NEEDED("low", DPT_OPTION_NUMBER, -MOST, MOST), NEEDED("high", DPT_OPTION_NUMBER, -MOST, MOST)}},
    PLAIN(log_softmax, "logarithm of softmax"),
    PLAIN(softmax, "exp(x) over its sum along the last dimension"),
    PLAIN(flatten, "all dimensions of a sample in one"),
    SEVERAL(add, "sum", DPT_LAYER_ANY),
    SEVERAL(sub, "difference", 2),
    SEVERAL(mul, "product, element by element", DPT_LAYER_ANY),
    SEVERAL(div, "quotient, element by element", 2),
    {"scale", "x times value", scale, 1, 1, false, {NEEDED("value", DPT_OPTION_NUMBER, -MOST, MOST)}},
    {"offset", "x plus value", offset, 1, 1, false, {NEEDED("value", DPT_OPTION_NUMBER, -MOST, MOST)}},
    {"concat", "one behind the other along a dimension; 1: channels", concat, 2, DPT_LAYER_ANY, false, {INT("axis", 1, 0)}},
    {"slice", "elements begin, begin + step, ... before end along a dimension", slice, 1, 1, false,
     {INT("axis", 1, 0), INT("begin", 0, 0), NEEDED("end", DPT_OPTION_INT, 1, MOST), INT("step", 1, 1)}},
    {"pad", "before and after of value around a dimension", pad, 1, 1, false,
     {INT("axis", 1, 0), INT("before", 0, 0), INT("after", 0, 0), NUMBER("value", 0, -MOST, MOST)}},
    {"transpose", "dimensions in this order, as [2, 1, 3]; samples stay first", transpose, 1, 1, false,
     {NEEDED("order", DPT_OPTION_SIZES, 1, DPT_MAX_NDIM - 1)}},
    REDUCTION_ROW(mean, "mean over the dimensions `axes`, which stay as 1 with keep"),
    REDUCTION_ROW(sum, "sum over them"),
    REDUCTION_ROW(max, "largest over them"),
    REDUCTION_ROW(min, "smallest over them"),
    {"reshape", "the same values in another shape of a sample", reshape, 1, 1, false,
     {NEEDED("shape", DPT_OPTION_SIZES, 1, MOST)}},
};
// clang-format on
enum { COUNT = sizeof dpt_layer_types / sizeof dpt_layer_types[0] };
const int dpt_layer_type_count = COUNT;

const dpt_layer_type *dpt_layer_type_find(const char *name) {
    for (int i = 0; i < COUNT; i++)
        if (strcmp(dpt_layer_types[i].name, name) == 0) return &dpt_layer_types[i];
    return NULL;
}

/* ---- docs/layers.md ---- */

static void write_option(FILE *out, const dpt_layer_option *o) {
    fprintf(out, "`%s`", o->name);
    if (o->kind == DPT_OPTION_WORD) {
        fputs(" (", out);
        int n = 0;
        for (const char *w = o->words; *w; w += strcspn(w, "|") + (w[strcspn(w, "|")] != 0), n++)
            fprintf(out, "%s%.*s%s", n ? ", " : "", (int)strcspn(w, "|"), w,
                    n == (int)o->initial ? ", the default" : "");
        fputs(")", out);
    } else if (o->kind == DPT_OPTION_FLAG) {
        fprintf(out, " = %s", o->initial ? "true" : "false");
    } else if (!o->needed) {
        fprintf(out, " = %g", o->initial);
    }
}

static void write_type(FILE *out, const dpt_layer_type *t) {
    fprintf(out, "| `%s` | ", t->name);
    if (t->most_from == 1)
        fputs("1", out);
    else if (t->most_from == t->least_from)
        fprintf(out, "%d", t->least_from);
    else
        fprintf(out, "%d or more", t->least_from);
    fputs(" | ", out);
    for (int i = 0; t->option[i].kind != DPT_OPTION_NONE; i++) {
        if (i) fputs(", ", out);
        write_option(out, &t->option[i]);
    }
    fprintf(out, " | %s%s |\n", t->help, t->shares ? "; can be shared" : "");
}

void dpt_layers_reference(FILE *out) {
    fputs(
        "# Layers\n"
        "\n"
        "`model.file=net.yaml` trains a network that is written as a list of layers:\n"
        "\n"
        "```yaml\n"
        "layers:\n"
        "  - {type: conv, name: stem, out: 16, kernel: 3, pad: 1}\n"
        "  - repeat: 2                       # all of the block, twice\n"
        "    layers:\n"
        "      - {type: conv, name: \"a{i}\", out: 16, kernel: 3, pad: 1}\n"
        "      - {type: relu}\n"
        "  - {type: add, from: [stem, a2]}\n"
        "  - {type: flatten}\n"
        "  - {type: linear, name: head, out: classes}\n"
        "```\n"
        "\n"
        "A config may hold the list itself, as `model: {layers: [...]}`.\n"
        "\n"
        "| key of a layer | meaning |\n"
        "|---|---|\n"
        "| `type` | one of the table below |\n"
        "| `name` | its name, and the beginning of its parameters' names; not given: the type and a number |\n"
        "| `from` | names of the layers that it takes, or of inputs; not given: the layer before |\n"
        "| `shared` | the name of a layer of the same type whose parameters it uses instead of its own |\n"
        "| `repeat` | how many times the layer, or a block with `layers`, stands here |\n"
        "\n"
        "A sole input is called `input`; several have the names that `data.inputs` gives them (docs/config.md), and\n"
        "`data.targets` says which layer predicts which target.\n"
        "\n"
        "In names, `{i}` is the number of the repeat, from 1; `{j}` and `{k}` are those of a repeat inside it. "
        "`{i-1}`\n"
        "and `{i+1}` are its neighbours. `out: classes` is the width that the data ask for: `data.classes` with a\n"
        "cross-entropy, else the values of a target. The last layer is the model's output where no target\n"
        "names its own; every other one must be taken by a layer. A list of numbers for `kernel`, `stride`, `pad` or "
        "`dilation` has one for each spatial\n"
        "dimension. Shapes are [samples, channels, spatial ...] before `flatten`; `axis`, `axes` and `order` count\n"
        "dimensions from samples, which are 0.\n"
        "\n"
        "| type | takes | options | what it does |\n"
        "|---|---|---|---|\n",
        out);
    for (int i = 0; i < COUNT; i++) write_type(out, &dpt_layer_types[i]);
}
