/* test_layers.c: lists of layers: what is wrong is said with its line before a graph is made, or with the layer's where
 * shapes do not fit; what is right gives the graph that the same calls in C give. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "check.h"
#include "dptrain/ops.h"
#include "graph/graph.h"
#include "models/layer_list.h"

static dpt_status parse(const char *text, dpt_layers **layers) {
    return dpt_layers_parse("net.yaml", text, strlen(text), NULL, layers);
}

static void refuse(const char *text, const char *message) {
    dpt_layers *layers = (dpt_layers *)1;
    CHECK_FAILS(parse(text, &layers), DPT_ERR_CONFIG, message);
    CHECK(layers == NULL);
}

static dpt_model_options images(int64_t channels, int64_t height, int64_t width) {
    return (dpt_model_options){.in_ndim = 3,
                               .in_dim = {channels, height, width},
                               .classes = 5,
                               .target_dtype = DPT_I64,
                               .loss = DPT_MODEL_CROSS_ENTROPY};
}

/* Shapes that do not fit, on images [3, 8, 6]. */
static void misfit(const char *text, dpt_status code, const char *place, const char *what) {
    dpt_layers *layers;
    dpt_model_options o = images(3, 8, 6);
    if (!CHECK_OK(parse(text, &layers))) return;
    const char *texts[] = {place, what};
    for (int i = 0; i < 2; i++) {
        dpt_graph *g = dpt_graph_create(NULL);
        CHECK_FAILS(dpt_layers_build(layers, g, &o), code, texts[i]);
        dpt_graph_destroy(&g);
    }
    dpt_layers_destroy(&layers);
}

static void bad_lists(void) {
    refuse("", "net.yaml: \"layers:\" is expected");
    refuse("layers: [\n", "net.yaml:2: not valid YAML");
    refuse("layers: []\n", "net.yaml:1: layers: a list");
    refuse("layer: []\n", "net.yaml:1: there is no \"layers:\" here");
    refuse("nets: 1\nlayers: [{type: relu}]\n", "net.yaml:1: \"nets\" beside \"layers\"");
    refuse("layers:\n  - relu\n", "net.yaml:2: a layer is written as");
    refuse("layers:\n  - {name: a}\n", "net.yaml:2: a layer has no type");
    refuse("layers:\n  - {type: rleu}\n", "net.yaml:2: no layer type \"rleu\"; did you mean relu?");
    refuse("layers:\n  - {type: attention}\n", "docs/layers.md lists them");
    refuse("layers:\n  - type: conv\n    out: 4\n    kernal: 3\n",
           "net.yaml:4: conv has no option \"kernal\"; did you mean kernel?");
    refuse("layers:\n  - {type: relu, slope: 1}\n", "relu has no option \"slope\"; its options: none");
    refuse("layers:\n  - {type: conv, name: c, out: 4}\n", "net.yaml:2: conv \"c\" needs kernel");
    refuse("layers:\n  - {type: linear, out: 4, out: 5}\n", "net.yaml:2: out is given twice");
    refuse("layers:\n  - {type: linear, out: 0}\n", "net.yaml:2: out: 0 is not in [1, ");
    refuse("layers:\n  - {type: linear, out: 1.5}\n", "out: 1.5 is not an integer");
    refuse("layers:\n  - {type: linear, out: many}\n", "out: \"many\" is not a number");
    refuse("layers:\n  - {type: linear, out: [1]}\n", "out: \"a list or block\" is not a number");
    refuse("layers:\n  - {type: conv, out: 1, kernel: 3, bias: maybe}\n", "bias: \"maybe\" is none of false|true");
    refuse("layers:\n  - {type: resample, size: 4, mode: cubic}\n", "is none of nearest|linear|linear_corners");
    refuse("layers:\n  - {type: conv, out: 1, kernel: [1, 2, 3, 4, 5, 6, 7, 8, 9]}\n", "a list of 9 numbers");
    refuse("layers:\n  - {type: relu, name: input}\n", "\"input\" is the model's input");
    refuse("layers:\n  - {type: relu, name: \"a{i}\"}\n", "{i} is the number of the outermost repeat");
    refuse("layers:\n  - {repeat: 2, type: relu, name: \"a{i+9223372036854775807}\"}\n", "{i} is the number");
    refuse("layers:\n  - {repeat: 0, layers: [{type: relu}]}\n", "repeat: 0 is not in [1, 10000]");
    refuse("layers:\n  - {repeat: 2, nmae: a, layers: [{type: relu}]}\n", "\"nmae\" in a block");
    refuse("layers: [{repeat: 100, layers: [{repeat: 101, layers: [{type: relu}]}]}]\n", "more than 10000 layers");
    refuse("layers: &a [{layers: *a}]\n", "blocks more than 3 deep");
    dpt_layers *layers;
    CHECK_FAILS(dpt_layers_read("absent.yaml", NULL, &layers), DPT_ERR_CONFIG, "layers absent.yaml: No such file");
}

static void bad_joins(void) {
    refuse("layers:\n  - {type: relu, name: a}\n  - {type: tanh, name: a}\n",
           "net.yaml:3: the name \"a\" is taken by line 2");
    refuse("layers:\n  - {repeat: 2, layers: [{type: relu, name: a}]}\n", "the name \"a\" is taken by line 2");
    refuse("layers:\n  - {type: relu, name: stem}\n  - {type: tanh, from: stam}\n",
           "net.yaml:3: from: no layer \"stam\"; did you mean stem?");
    refuse("layers:\n  - {type: add, from: [input]}\n",
           "net.yaml:2: add \"add1\" takes from 1 layer, but needs at least 2");
    refuse("layers:\n  - {type: relu, from: [input, input]}\n", "takes from 2 layers, but needs 1");
    refuse("layers:\n  - {type: relu, name: a}\n  - {type: add, name: b, from: [a, c]}\n  - {type: tanh, name: c}\n",
           "net.yaml:4: a circle: c -> b -> c");
    refuse("layers:\n  - {type: relu, name: a, from: a}\n", "net.yaml:2: a circle: a -> a");
    refuse("layers:\n  - {type: relu, name: a}\n  - {type: tanh, name: b, from: input}\n",
           "net.yaml:2: the output of \"a\" goes nowhere");
    refuse("layers:\n  - {type: linear, name: a, out: 3}\n  - {type: linear, shared: b}\n",
           "net.yaml:3: shared: no layer \"b\"");
    refuse("layers:\n  - {type: linear, name: a, out: 3}\n  - {type: linear, shared: a, out: 3}\n",
           "out does nothing beside shared");
    refuse("layers:\n  - {type: conv, name: a, out: 3, kernel: 1}\n  - {type: linear, shared: a}\n",
           "\"a\" is a conv, not a linear with parameters of its own");
    refuse("layers:\n  - {type: relu, name: a}\n  - {type: relu, shared: a}\n", "relu has no parameters");
}

static void bad_shapes(void) {
    misfit("layers:\n  - {type: conv, name: a, out: 4, kernel: 3}\n  - {type: add, name: sum, from: [a, input]}\n",
           DPT_ERR_SHAPE, "net.yaml:3: add", "(layer \"sum\")");
    misfit("layers:\n  - {type: conv, name: big, out: 4, kernel: 9}\n", DPT_ERR_SHAPE, "net.yaml:2: conv", "big");
    misfit("layers:\n  - {type: conv, name: odd, out: 4, kernel: 1, groups: 2}\n", DPT_ERR_SHAPE, "net.yaml:2: conv",
           "odd");
    misfit("layers:\n  - {type: conv, name: a, out: 4, kernel: [1, 2, 3]}\n", DPT_ERR_SHAPE, "net.yaml:2: conv \"a\"",
           "kernel has 3 numbers, but x is [B,3,8,6]");
    misfit("layers:\n  - {type: flatten}\n  - {type: linear, name: head, out: 4}\n", DPT_ERR_SHAPE,
           "net.yaml:3: the model's output is [B,4]", "wanted [B,5]");
    misfit("layers:\n  - {type: transpose, name: turn, order: [2, 1]}\n", DPT_ERR_SHAPE,
           "net.yaml:2: transpose \"turn\"", "order has 2 numbers, but x is [B,3,8,6]");
    misfit("layers:\n  - {type: transpose, order: [2, 1, 1]}\n", DPT_ERR_SHAPE, "net.yaml:2: transpose", "transpose1");
    misfit("layers:\n  - {type: max, axes: 4}\n", DPT_ERR_SHAPE, "net.yaml:2: max", "(layer \"max1\")");
    misfit("layers:\n  - {type: reshape, shape: [7, 7]}\n", DPT_ERR_SHAPE, "net.yaml:2: reshape",
           "(layer \"reshape1\")");
}

static const char residual[] =
    "layers:\n"
    "  - {type: conv, name: stem, out: 4, kernel: 3, pad: 1, bias: false}\n"
    "  - repeat: 2\n"
    "    layers:\n"
    "      - {type: batch_norm, name: \"bn{i}\", sync: true}\n"
    "      - {type: relu}\n"
    "      - {type: conv, name: \"b{i}.conv\", out: 4, kernel: [3, 1], pad: [1, 0]}\n"
    "  - {type: add, name: sum, from: [stem, b1.conv, b2.conv]}\n"
    "  - {type: max_pool, kernel: 2}\n"
    "  - {type: flatten}\n"
    "  - {type: linear, name: fc, out: 48}\n"
    "  - {type: linear, shared: fc}\n"
    "  - {type: linear, name: head, out: classes}\n";

static dpt_tensor *block(dpt_tensor *x, const char *norm, const char *conv) {
    const int64_t kernel[] = {3, 1}, pad[] = {1, 0};
    x = dpt_relu(dpt_batch_norm(x, ((dpt_batch_norm_options){.sync = 1}), norm));
    return dpt_conv(x, 4, 0, 1, ((dpt_conv_options){.kernels = kernel, .pads = pad}), conv);
}

static const char reductions[] =
    "layers:\n"
    "  - {type: transpose, name: turned, order: [1, 3, 2]}\n"
    "  - {type: max, axes: 3, keep: true}\n"
    "  - {type: min, from: turned, axes: 3, keep: true}\n"
    "  - {type: add, from: [max1, min1]}\n"
    "  - {type: mean, axes: [2, 3]}\n"
    "  - {type: sum, from: turned, axes: [2, 3]}\n"
    "  - {type: mul, from: [mean1, sum1]}\n"
    "  - {type: linear, name: head, out: classes}\n";

/* The same in C: the digest of a graph says nothing of lines. */
static void end(dpt_graph *g, dpt_tensor *x) {
    x = dpt_linear(x, 5, "head");
    dpt_tensor *y = dpt_input(g, "y", DPT_I64, 1, ((int64_t[]){DPT_BATCH}));
    dpt_output(g, "logits", x);
    dpt_output(g, "accuracy", dpt_accuracy(x, y));
    dpt_loss_add(g, dpt_cross_entropy(x, y), 1.0, NULL);
}

static void by_hand(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 3, 8, 6}));
    dpt_tensor *stem = dpt_conv(x, 4, 3, 0, ((dpt_conv_options){.pad = 1}), "stem");
    dpt_tensor *a = block(stem, "bn1", "b1.conv"), *b = block(a, "bn2", "b2.conv");
    x = dpt_flatten(dpt_max_pool2d(dpt_add(dpt_add(stem, a), b), 2, 2, 0));
    x = dpt_linear(x, 48, "fc");
    x = dpt_linear_with(x, dpt_graph_find_param(g, "fc.weight")->tensor, dpt_graph_find_param(g, "fc.bias")->tensor);
    end(g, x);
}

static void reductions_by_hand(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 3, 8, 6}));
    dpt_tensor *turned = dpt_transpose(x, ((int[]){0, 1, 3, 2}));
    dpt_tensor *most = dpt_max(turned, 1U << 3, 1), *least = dpt_min(turned, 1U << 3, 1);
    dpt_tensor *mean = dpt_mean(dpt_add(most, least), 1U << 2 | 1U << 3, 0);
    end(g, dpt_mul(mean, dpt_sum(turned, 1U << 2 | 1U << 3, 0)));
}

static void check_same(const char *text, void (*by_calls)(dpt_graph *g)) {
    dpt_layers *layers;
    dpt_model_options o = images(3, 8, 6);
    dpt_graph *g = dpt_graph_create(NULL), *h = dpt_graph_create(NULL);
    by_calls(h);
    CHECK_OK(dpt_graph_status(h));
    if (CHECK_OK(parse(text, &layers))) {
        CHECK_OK(dpt_layers_build(layers, g, &o));
        CHECK_EQ_I64(g->n_param, h->n_param);
        for (int64_t i = 0; i < g->n_param && i < h->n_param; i++) CHECK_EQ_TEXT(g->param[i].name, h->param[i].name);
        CHECK(dpt_graph_digest(g) == dpt_graph_digest(h));
    }
    dpt_graph_destroy(&g);
    dpt_graph_destroy(&h);
    dpt_layers_destroy(&layers);
}

static void same_as_calls(void) {
    check_same(residual, by_hand);
    check_same(reductions, reductions_by_hand);
}

/* A layer may stand before those that it takes from; a block in a block counts with {j}; a neighbour is {i-1}. */
static void orders(void) {
    dpt_layers *layers;
    dpt_model_options o = {.in_ndim = 1, .in_dim = {3}, .classes = 3, .target_dtype = DPT_F32, .loss = DPT_MODEL_MSE};
    const char *text =
        "layers:\n"
        "  - {type: add, name: early, from: [a2.2, n0]}\n"
        "  - {type: tanh, name: n0, from: input}\n"
        "  - repeat: 2\n"
        "    layers:\n"
        "      - {type: gelu, name: \"n{i}\", from: \"n{i-1}\"}\n"
        "      - repeat: 2\n"
        "        layers: [{type: relu, name: \"a{i}.{j}\"}]\n"
        "  - {type: mul, from: [early, a1.2]}\n";
    dpt_graph *g = dpt_graph_create(NULL);
    if (CHECK_OK(parse(text, &layers))) CHECK_OK(dpt_layers_build(layers, g, &o));
    int64_t nodes = 0;
    for (int64_t i = 0; i < g->n_node; i++) nodes += strstr(g->node[i]->name, "relu") != NULL;
    CHECK_EQ_I64(nodes, 4);
    dpt_graph_destroy(&g);
    dpt_layers_destroy(&layers);
}

static void reference(void) {
    char *printed = NULL;
    size_t bytes = 0;
    static char kept[1 << 16];
    FILE *out = open_memstream(&printed, &bytes);
    dpt_layers_reference(out);
    fclose(out);
    FILE *in = fopen(DPT_LAYERS_REFERENCE, "r");
    if (CHECK(in != NULL)) {
        size_t n = fread(kept, 1, sizeof kept, in);
        fclose(in);
        check_that(n == bytes && memcmp(kept, printed, n) == 0, __FILE__, __LINE__,
                   "docs/layers.md is not what the table prints: dptrain info layers > docs/layers.md");
    }
    free(printed);
}

/* Inputs and outputs by name. */
static dpt_status parse_ends(const char *text, dpt_layers **layers) {
    static const char *const inputs[] = {"u", "kind"}, *const outputs[] = {"head", "top"};
    const dpt_layers_ends ends = {.input = inputs, .inputs = 2, .output = outputs, .outputs = 2};
    return dpt_layers_parse("net.yaml", text, strlen(text), &ends, layers);
}

#define TWO_INPUTS                                                   \
    "layers:\n"                                                      \
    "  - {type: embedding, name: t, from: kind, count: 5, out: 2}\n" \
    "  - {type: concat, name: all, from: [t, u]}\n"
#define TWO_OUTPUTS                                             \
    "  - {type: linear, name: head, from: all, out: classes}\n" \
    "  - {type: linear, name: top, from: all, out: classes}\n"

static void bad_ends(void) {
    dpt_layers *layers;
    const char *const wrong[][2] = {
        {TWO_INPUTS TWO_OUTPUTS "  - {type: relu, from: velocity}\n",
         "net.yaml:6: from: no layer or input \"velocity\"; the inputs are u, kind"},
        {TWO_INPUTS TWO_OUTPUTS "  - {type: relu, from: kin}\n", "did you mean kind?; the inputs are u, kind"},
        {TWO_INPUTS TWO_OUTPUTS "  - {type: relu, from: input}\n", "no layer or input \"input\""},
        {TWO_INPUTS "  - {type: linear, name: head, out: 1}\n", "net.yaml: a target's layer: no layer \"top\""},
        {"layers:\n  - {type: linear, name: head, from: u, out: 1}\n  - {type: relu, name: top, from: u}\n",
         "net.yaml: no layer takes the input \"kind\" (from: kind)"},
        {TWO_INPUTS TWO_OUTPUTS "  - {type: relu, name: u, from: all}\n", "net.yaml:6: \"u\" is the name of an input"},
        {TWO_INPUTS TWO_OUTPUTS "  - {type: relu, name: r, from: all}\n",
         "net.yaml:6: the output of \"r\" goes nowhere"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_FAILS(parse_ends(wrong[i][0], &layers), DPT_ERR_CONFIG, wrong[i][1]);
}

/* Two inputs and two targets give the graph that the same calls give; predictions are named by their targets. */
static void several_ends(void) {
    dpt_layers *layers;
    const dpt_model_input_of inputs[] = {{.name = "u", .dtype = DPT_F32, .ndim = 1, .dim = {4}},
                                         {.name = "kind", .dtype = DPT_I64}};
    dpt_model_options o[2] = {{.target = "flux",
                               .several = 1,
                               .in_ndim = 1,
                               .in_dim = {4},
                               .classes = 1,
                               .target_dtype = DPT_F32,
                               .loss = DPT_MODEL_MSE},
                              {.target = "class",
                               .several = 1,
                               .in_ndim = 1,
                               .in_dim = {4},
                               .classes = 3,
                               .target_dtype = DPT_I64,
                               .weight = 0.5}};
    if (!CHECK_OK(parse_ends(TWO_INPUTS TWO_OUTPUTS, &layers))) return;
    dpt_graph *g = dpt_graph_create(NULL);
    if (CHECK_OK(dpt_layers_build_ends(layers, g, inputs, o))) {
        CHECK(g->n_loss == 2 && g->loss[0].weight == 1 && g->loss[1].weight == 0.5);
        CHECK_EQ_I64(dpt_graph_find_param(g, "head.weight")->tensor->dim[0], 1);
        CHECK_EQ_I64(dpt_graph_find_param(g, "top.weight")->tensor->dim[0], 3);
        CHECK_EQ_I64(dpt_graph_find_param(g, "top.weight")->tensor->dim[1], 6);
        const char *const names[] = {"flux.y", "class.logits", "class.accuracy"};
        for (int i = 0; CHECK(g->n_output == 3) && i < 3; i++) CHECK_EQ_TEXT(g->output[i].name, names[i]);
        const char *const fed[] = {"u", "kind", "flux", "class"};
        for (int i = 0; CHECK(g->n_input == 4) && i < 4; i++) CHECK_EQ_TEXT(g->input[i]->node->name, fed[i]);
    }
    dpt_graph_destroy(&g);
    o[1].target_dtype = DPT_F32;
    g = dpt_graph_create(NULL);
    CHECK_FAILS(dpt_layers_build_ends(layers, g, inputs, o), DPT_ERR_CONFIG, "targets of a cross-entropy");
    dpt_graph_destroy(&g);
    dpt_layers_destroy(&layers);
}

static void no_memory(void) {
    dpt_layers *layers = NULL;
    for (int64_t n = 1; n < 2000; n++) {
        dpt_alloc_fail_at(n);
        dpt_status status = parse(residual, &layers);
        dpt_alloc_fail_at(0);
        if (status == DPT_OK) break;
        CHECK_EQ_I64(status, DPT_ERR_MEMORY);
        CHECK(layers == NULL);
    }
    CHECK(layers != NULL);
    dpt_layers_destroy(&layers);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "layers", {"bad_lists", bad_lists}, {"bad_joins", bad_joins},
                      {"bad_shapes", bad_shapes}, {"same_as_calls", same_as_calls}, {"orders", orders},
                      {"reference", reference}, {"bad_ends", bad_ends}, {"several_ends", several_ends},
                      {"no_memory", no_memory});
}
