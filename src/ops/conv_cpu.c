/* conv_cpu.c: the CPU kernels of conv, conv_dgrad and conv_wgrad.
 *
 * f32 goes through oneDNN. Its convolutions want blocked layouts, and reordering into and out of them costs a tenth of
 * what they save against the canonical one. The layout pass is told which ones (layouts); an operand that comes in
 * another one all the same, and the weight, which is always canonical, gets a copy in the workspace. Exceptions,
 * measured: weight gradients with few input channels are our own where their shape allows it (conv_few.h); data
 * gradients to few input channels are faster unblocked, and without AVX-512 so are the weight gradients that stay with
 * oneDNN. The choice depends on shapes and processor alone, never on timing, so that runs repeat bit by bit. */
#include "ops/conv_cpu.h"
#include "backend/layout.h"
#include "base/memory.h"
#include "ops/conv_few.h"
#include "ops/cpu_dnnl.h"
#include "ops/declare.h"
#include "ops/map.h"

/* Operands of a kernel: inputs 0 and 1, output 0. */
enum { ROLES = 3, RESULT = 2, MAX_WEIGHT_NDIM = 3 + DPT_MAX_SPATIAL };

/* Which of x, w, y each role is, and its number in oneDNN. */
typedef enum array { ARRAY_X, ARRAY_W, ARRAY_Y } array;
typedef struct role {
    array is;
    int argument;
    dnnl_query_t layout;
} role;

static const role roles[][ROLES] = {[DPT_CONV_FORWARD] = {{ARRAY_X, DNNL_ARG_SRC, dnnl_query_src_md},
                                                          {ARRAY_W, DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                                                          {ARRAY_Y, DNNL_ARG_DST, dnnl_query_dst_md}},
                                    [DPT_CONV_DGRAD] = {{ARRAY_Y, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                                        {ARRAY_W, DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                                                        {ARRAY_X, DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md}},
                                    [DPT_CONV_WGRAD] = {{ARRAY_Y, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                                        {ARRAY_X, DNNL_ARG_SRC, dnnl_query_src_md},
                                                        {ARRAY_W, DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md}}};

/* How an operand gets from where it lies to its copy, or the result from there. */
typedef struct turn {
    dpt_dnnl reorder;     /* primitive is NULL where both are one */
    size_t copy, scratch; /* offsets in the workspace: of the copy, of the reorder's scratchpad */
} turn;

typedef struct plan {
    bool few;                         /* conv_few.h makes it, and not oneDNN */
    dpt_dnnl conv;                    /* or this */
    dnnl_memory_desc_t chosen[ROLES]; /* layouts that it works on */
    size_t scratch_bytes;             /* its own workspace, which stands first */
    turn turn[ROLES];
} plan;

static dpt_conv_kind kind_of(const dpt_call *call) {
    if (call->op == DPT_OP_CONV) return DPT_CONV_FORWARD;
    return call->op == DPT_OP_CONV_DGRAD ? DPT_CONV_DGRAD : DPT_CONV_WGRAD;
}

/* ---- descriptors ---- */

/* Canonical layouts of x, w, y; grouped weights are [groups, O/groups, C/groups, ...] to oneDNN. */
static dpt_status canonical_layouts(const dpt_call *call, dnnl_memory_desc_t md[3]) {
    const dpt_conv_attr *a = &call->attr.conv;
    dpt_conv_sizes s = dpt_conv_sizes_of(a, call->in[0].dim[0]);
    int64_t x[2 + DPT_MAX_SPATIAL] = {s.batch, s.in_channels}, y[2 + DPT_MAX_SPATIAL] = {s.batch, s.out_channels};
    int64_t w[MAX_WEIGHT_NDIM] = {s.groups, s.out_channels / s.groups, s.in_channels / s.groups};
    for (int i = 0; i < a->spatial; i++) {
        x[2 + i] = s.in[3 - a->spatial + i];
        y[2 + i] = s.out[3 - a->spatial + i];
        w[3 + i] = a->kernel[i];
    }
    int ungrouped = s.groups == 1;
    DPT_TRY(dpt_dnnl_plain(&md[ARRAY_X], 2 + a->spatial, x));
    DPT_TRY(dpt_dnnl_plain(&md[ARRAY_W], 3 - ungrouped + a->spatial, w + ungrouped));
    return dpt_dnnl_plain(&md[ARRAY_Y], 2 + a->spatial, y);
}

/* Where an operand lies, as the call has it: x or y in their layout, the weight. */
static dpt_status given_layout(const dpt_call *call, int i, const dnnl_memory_desc_t *plain, dnnl_memory_desc_t *md) {
    static const dnnl_format_tag_t tags[][DPT_MAX_SPATIAL] = {
        [DPT_LAYOUT_CHANNELS_LAST] = {dnnl_acb, dnnl_acdb, dnnl_acdeb},
        [DPT_LAYOUT_BLOCKED_8] = {dnnl_aBc8b, dnnl_aBcd8b, dnnl_aBcde8b},
        [DPT_LAYOUT_BLOCKED_16] = {dnnl_aBc16b, dnnl_aBcd16b, dnnl_aBcde16b}};
    const dpt_operand *o = i == RESULT ? &call->out[0] : &call->in[i];
    *md = *plain;
    if (o->layout == DPT_LAYOUT_CANONICAL) return DPT_OK;
    return DPT_DNNL(dnnl_memory_desc_init_by_tag(md, plain->ndims, plain->dims, dnnl_f32,
                                                 tags[o->layout][call->attr.conv.spatial - 1]));
}

/* Whether x and y keep their canonical layout (see the top of the file). Of groups oneDNN knows best: a channel each is
 * 14 times as fast in blocks. */
static bool stays_canonical(const dpt_call *call) {
    enum { FEW_CHANNELS = 4 };
    if (call->attr.conv.groups > 1 || call->attr.conv.weight_dim[1] > FEW_CHANNELS) return false;
    switch (kind_of(call)) {
        case DPT_CONV_DGRAD: return true;
        case DPT_CONV_WGRAD: return dnnl_get_effective_cpu_isa() < dnnl_cpu_isa_avx512_core;
        default: return false;
    }
}

typedef struct steps {
    dnnl_dims_t stride, dilation, pad;
} steps;

/* oneDNN counts dilation from 0. */
static steps steps_of(const dpt_conv_attr *a) {
    steps s = {0};
    for (int i = 0; i < a->spatial; i++) {
        s.stride[i] = a->stride[i];
        s.dilation[i] = a->dilation[i] - 1;
        s.pad[i] = a->pad[i];
    }
    return s;
}

static dpt_status describe_forward(dnnl_convolution_desc_t *d, const dpt_conv_attr *a, const dnnl_memory_desc_t md[3],
                                   const dnnl_memory_desc_t *bias) {
    steps s = steps_of(a);
    return DPT_DNNL(dnnl_dilated_convolution_forward_desc_init(d, dnnl_forward_training, dnnl_convolution_direct,
                                                               &md[ARRAY_X], &md[ARRAY_W], bias, &md[ARRAY_Y], s.stride,
                                                               s.dilation, s.pad, s.pad));
}

static dpt_status describe_backward(dnnl_convolution_desc_t *d, dpt_conv_kind kind, const dpt_conv_attr *a,
                                    const dnnl_memory_desc_t md[3]) {
    const dnnl_memory_desc_t *x = &md[ARRAY_X], *w = &md[ARRAY_W], *y = &md[ARRAY_Y];
    steps s = steps_of(a);
    if (kind == DPT_CONV_DGRAD)
        return DPT_DNNL(dnnl_dilated_convolution_backward_data_desc_init(d, dnnl_convolution_direct, x, w, y, s.stride,
                                                                         s.dilation, s.pad, s.pad));
    return DPT_DNNL(dnnl_dilated_convolution_backward_weights_desc_init(d, dnnl_convolution_direct, x, w, NULL, y,
                                                                        s.stride, s.dilation, s.pad, s.pad));
}

/* ---- preparing ---- */

/* The convolution with the layouts of its operands open, and the forward one as hint of backward ones (else NULL). */
static dpt_status describe(const dpt_call *call, const dnnl_memory_desc_t canonical[3], dnnl_convolution_desc_t *d,
                           dnnl_primitive_desc_t *hint) {
    const dpt_conv_attr *a = &call->attr.conv;
    dpt_conv_kind kind = kind_of(call);
    dnnl_memory_desc_t wanted[3], bias;
    bool keep = stays_canonical(call), with_bias = a->bias && kind == DPT_CONV_FORWARD;
    *hint = NULL;
    for (int i = 0; i < 3; i++) {
        wanted[i] = canonical[i];
        if (i != ARRAY_W && keep) continue;
        DPT_TRY(DPT_DNNL(dnnl_memory_desc_init_by_tag(&wanted[i], canonical[i].ndims, canonical[i].dims, dnnl_f32,
                                                      dnnl_format_tag_any)));
    }
    DPT_TRY(dpt_dnnl_plain(&bias, 1, a->weight_dim));
    DPT_TRY(describe_forward(d, a, wanted, with_bias ? &bias : NULL));
    if (kind == DPT_CONV_FORWARD) return DPT_OK;
    DPT_TRY(dpt_dnnl_describe(hint, call->device->threads, d, NULL, 0));
    dpt_status status = describe_backward(d, kind, a, wanted);
    if (status != DPT_OK) dnnl_primitive_desc_destroy(*hint);
    return status;
}

/* Of the leaky ReLU that oneDNN makes behind the forward convolution; 0: none. */
static double leaky_slope(const dpt_call *call) {
    return call->op == DPT_OP_CONV && call->attr.conv.act == DPT_ACT_RELU ? call->attr.conv.slope : 0;
}

static const dnnl_memory_desc_t *chosen_layout(const_dnnl_primitive_desc_t desc, const role *r) {
    return dnnl_primitive_desc_query_md(desc, r->layout, 0);
}

static bool is_few(const dpt_call *call) {
    const dpt_conv_sizes s = dpt_conv_sizes_of(&call->attr.conv, call->in[0].dim[0]);
    return call->op == DPT_OP_CONV_WGRAD && dpt_conv_few_takes(&s);
}

/* Our own weight gradient: x and w canonical, y in blocks. */
static dpt_status open_few(const dpt_call *call, plan *p, const dnnl_memory_desc_t canonical[3]) {
    const dpt_conv_sizes s = dpt_conv_sizes_of(&call->attr.conv, call->in[0].dim[0]);
    dpt_call as = *call;
    p->few = true;
    p->scratch_bytes = dpt_conv_few_workspace(&s, call->device->threads);
    as.in[0].layout = dpt_conv_few_layout();
    for (int i = 1; i < ROLES; i++) p->chosen[i] = canonical[roles[DPT_CONV_WGRAD][i].is];
    return given_layout(&as, 0, &canonical[ARRAY_Y], &p->chosen[0]);
}

/* The convolution itself, with operands in the layouts that it chose. */
static dpt_status open_convolution(const dpt_call *call, plan *p, const dnnl_memory_desc_t canonical[3]) {
    dnnl_memory_desc_t bias;
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t hint;
    DPT_TRY(describe(call, canonical, &d, &hint));
    dpt_status status = dpt_dnnl_open(&p->conv, call->device->threads, &d, hint, leaky_slope(call));
    if (hint) dnnl_primitive_desc_destroy(hint);
    DPT_TRY(status);
    for (int i = 0; i < ROLES; i++) {
        const role *r = &roles[kind_of(call)][i];
        p->chosen[i] = *chosen_layout(p->conv.desc, r);
        DPT_TRY(dpt_dnnl_operand(&p->conv, r->argument, &p->chosen[i]));
    }
    p->scratch_bytes = dpt_dnnl_scratch_bytes(&p->conv);
    if (!call->attr.conv.bias || call->op != DPT_OP_CONV) return DPT_OK;
    DPT_TRY(dpt_dnnl_plain(&bias, 1, call->attr.conv.weight_dim));
    return dpt_dnnl_operand(&p->conv, DNNL_ARG_BIAS, &bias);
}

/* Whether two layouts have the same bytes: equal, or of an operand of which all layouts have (layout.h). */
static bool same_bytes(const dpt_operand *o, const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b) {
    if (dnnl_memory_desc_equal(a, b)) return true;
    return dpt_layout_is_plain(o, DPT_LAYOUT_CHANNELS_LAST) &&
           dnnl_memory_desc_get_size(a) == dnnl_memory_desc_get_size(b);
}

/* Takes `bytes` of the workspace. */
static size_t take(dpt_call *call, size_t bytes) {
    size_t offset = call->workspace_bytes;
    call->workspace_bytes += dpt_align(bytes);
    return offset;
}

/* Copies of the operands that are not in the layout that was chosen. */
static dpt_status open_turns(dpt_call *call, plan *p, const dnnl_memory_desc_t canonical[3]) {
    const role *of = roles[kind_of(call)];
    take(call, p->scratch_bytes);
    for (int i = 0; i < ROLES; i++) {
        turn *t = &p->turn[i];
        dnnl_memory_desc_t given;
        DPT_TRY(given_layout(call, i, &canonical[of[i].is], &given));
        if (same_bytes(i == RESULT ? &call->out[0] : &call->in[i], &given, &p->chosen[i])) continue;
        const dnnl_memory_desc_t *from = i == RESULT ? &p->chosen[i] : &given;
        const dnnl_memory_desc_t *to = i == RESULT ? &given : &p->chosen[i];
        DPT_TRY(dpt_dnnl_open_reorder(&t->reorder, call->device->threads, from, to));
        t->copy = take(call, dnnl_memory_desc_get_size(&p->chosen[i]));
        t->scratch = take(call, dpt_dnnl_scratch_bytes(&t->reorder));
    }
    return DPT_OK;
}

static void release(dpt_call *call) {
    plan *p = call->plan;
    if (p == NULL) return;
    dpt_dnnl_close(&p->conv);
    for (int i = 0; i < ROLES; i++) dpt_dnnl_close(&p->turn[i].reorder);
    dpt_free(p);
    call->plan = NULL;
}

static dpt_status prepare(dpt_call *call) {
    dpt_status status;
    dnnl_memory_desc_t canonical[3];
    if (call->in[0].dtype != DPT_F32) return DPT_OK;
    plan *p = call->plan = dpt_alloc_zero(1, sizeof *p);
    DPT_CHECK_ALLOC(p);
    call->workspace_bytes = 0;
    DPT_TRY_GOTO(canonical_layouts(call, canonical), fail);
    DPT_TRY_GOTO(is_few(call) ? open_few(call, p, canonical) : open_convolution(call, p, canonical), fail);
    DPT_TRY_GOTO(open_turns(call, p, canonical), fail);
    return DPT_OK;
fail:
    release(call);
    return status;
}

/* What oneDNN chose for an operand, DPT_LAYOUT_COUNT where it is none of ours. */
static dpt_status layout_chosen(const dpt_call *call, int i, const dnnl_memory_desc_t *plain,
                                const dnnl_memory_desc_t *chosen, dpt_layout *layout) {
    dpt_call as = *call;
    dpt_operand *o = i == RESULT ? &as.out[0] : &as.in[i];
    for (int l = 0; l < DPT_LAYOUT_COUNT; l++) {
        dnnl_memory_desc_t md;
        o->layout = *layout = (dpt_layout)l;
        if (!dpt_layout_fits(o, *layout)) continue;
        DPT_TRY(given_layout(&as, i, plain, &md));
        if (same_bytes(o, &md, chosen)) return DPT_OK;
    }
    *layout = DPT_LAYOUT_COUNT;
    return DPT_OK;
}

/* x and y by themselves: any layout is taken, all but oneDNN's choice are converted. */
static dpt_status layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dnnl_memory_desc_t canonical[3];
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t hint = NULL, desc = NULL;
    if (call->in[0].dtype != DPT_F32) return DPT_OK;
    if (is_few(call)) {
        dpt_layouts_convert(choice->in[0], &call->in[0], dpt_conv_few_layout());
        dpt_layouts_convert(choice->in[1], &call->in[1], DPT_LAYOUT_CANONICAL);
        return DPT_OK;
    }
    DPT_TRY(canonical_layouts(call, canonical));
    DPT_TRY(describe(call, canonical, &d, &hint));
    dpt_status status = dpt_dnnl_describe(&desc, call->device->threads, &d, hint, leaky_slope(call));
    for (int i = 0; i < ROLES && status == DPT_OK; i++) {
        const role *r = &roles[kind_of(call)][i];
        dpt_layout best;
        if (r->is == ARRAY_W) continue;
        status = layout_chosen(call, i, &canonical[r->is], chosen_layout(desc, r), &best);
        dpt_layouts_convert(i == RESULT ? choice->out[0] : choice->in[i], i == RESULT ? &call->out[0] : &call->in[i],
                            best);
    }
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return status;
}

/* ---- binding and running ---- */

static dpt_status bind_role(dpt_call *call, plan *p, int i) {
    char *workspace = call->workspace;
    turn *t = &p->turn[i];
    void *data = i == RESULT ? call->out[0].data : call->in[i].data, *copy = workspace + t->copy;
    void *from = i == RESULT ? copy : data, *to = i == RESULT ? data : copy;
    int argument = roles[kind_of(call)][i].argument;
    if (!p->few) DPT_TRY(dpt_dnnl_bind(&p->conv, argument, t->reorder.primitive ? copy : data));
    if (t->reorder.primitive == NULL) return DPT_OK;
    DPT_TRY(dpt_dnnl_bind(&t->reorder, DNNL_ARG_SCRATCHPAD, workspace + t->scratch));
    DPT_TRY(dpt_dnnl_bind(&t->reorder, DNNL_ARG_FROM, from));
    return dpt_dnnl_bind(&t->reorder, DNNL_ARG_TO, to);
}

static dpt_status bind(dpt_call *call) {
    plan *p = call->plan;
    if (p == NULL) return DPT_OK;
    if (!p->few) DPT_TRY(dpt_dnnl_bind(&p->conv, DNNL_ARG_SCRATCHPAD, call->workspace));
    for (int i = 0; i < ROLES; i++) DPT_TRY(bind_role(call, p, i));
    return call->n_in > 2 ? dpt_dnnl_bind(&p->conv, DNNL_ARG_BIAS, call->in[2].data) : DPT_OK;
}

/* g and x as they are, or their copies; of the rows only the valid ones. */
static void run_few(const dpt_call *call) {
    const plan *p = call->plan;
    const dpt_operand *g = &call->in[0];
    const dpt_conv_sizes s = dpt_conv_sizes_of(&call->attr.conv, g->dim[0]);
    const void *in[RESULT];
    for (int i = 0; i < RESULT; i++)
        in[i] = p->turn[i].reorder.primitive ? (char *)call->workspace + p->turn[i].copy : call->in[i].data;
    dpt_conv_few_wgrad(&s, g->axis < 0 ? g->dim[0] : dpt_valid_rows(call, g), call->device->threads, in[1], in[0],
                       call->out[0].data, call->workspace);
}

static dpt_status run_turn(const turn *t, int threads) {
    return t->reorder.primitive ? dpt_dnnl_run(&t->reorder, threads) : DPT_OK;
}

static dpt_status run_f32(const dpt_call *call) {
    const plan *p = call->plan;
    int threads = call->device->threads;
    for (int i = 0; i < RESULT; i++) DPT_TRY(run_turn(&p->turn[i], threads));
    if (p->few)
        run_few(call);
    else
        DPT_TRY(dpt_dnnl_run(&p->conv, threads));
    return run_turn(&p->turn[RESULT], threads);
}

static void run_f64(const dpt_call *call) {
    dpt_conv_kind kind = kind_of(call);
    const dpt_operand *rows = &call->in[0];
    dpt_conv_sizes s = dpt_conv_sizes_of(&call->attr.conv, rows->axis < 0 ? rows->dim[0] : dpt_valid_rows(call, rows));
    double *of[3];
    for (int i = 0; i < ROLES; i++) of[roles[kind][i].is] = i == RESULT ? call->out[0].data : call->in[i].data;
    const double *bias = kind == DPT_CONV_FORWARD && call->attr.conv.bias ? call->in[2].data : NULL;
    dpt_conv_f64(kind, call->device->threads, &s, of[ARRAY_X], of[ARRAY_W], of[ARRAY_Y], bias);
}

/* As the unfused kernel: NaN stays NaN, which oneDNN's own ReLU turns into 0. */
DPT_MAP(relu, v < 0 ? 0 : v, v < 0 ? 0 : v)
DPT_MAP_LOOP(leaky_f64, double, v < 0 ? value * v : v)

static void run_activation(const dpt_call *call) {
    const double slope = call->attr.conv.slope;
    const dpt_range_fn f64 = slope > 0 ? leaky_f64 : relu_f64;
    dpt_map map = {.x = call->out[0].data, .y = call->out[0].data, .value = slope};
    if (call->plan && slope > 0) return; /* it is part of the convolution */
    dpt_parallel(call->device->threads, dpt_valid_count(call, &call->out[0]), DPT_MAP_GRAIN,
                 call->plan ? relu_f32 : f64, &map);
}

static dpt_status run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (call->op == DPT_OP_CONV_WGRAD) {
        dpt_cpu_zero_padding(call, &call->in[0]);
        dpt_cpu_zero_padding(call, &call->in[1]);
    } else if (dpt_valid_count(call, &call->out[0]) == 0) {
        return DPT_OK;
    }
    if (call->plan)
        DPT_TRY(run_f32(call));
    else
        run_f64(call);
    if (call->op == DPT_OP_CONV_WGRAD && call->attr.conv.bias) dpt_conv_bias_gradient(call);
    if (call->attr.conv.act == DPT_ACT_RELU) run_activation(call);
    return DPT_OK;
}

const dpt_kernel dpt_cpu_conv = {.prepare = prepare, .bind = bind, .run = run, .release = release, .layouts = layouts};
const dpt_kernel dpt_cpu_conv_dgrad = {
    .prepare = prepare, .bind = bind, .run = run, .release = release, .layouts = layouts};
const dpt_kernel dpt_cpu_conv_wgrad = {
    .prepare = prepare, .bind = bind, .run = run, .release = release, .layouts = layouts};
