/* row_norm_cpu.c: the CPU kernels of row_norm.c: normalisation of a row by itself and its gradients, in any layout
 * in which groups are whole blocks of channels. A row is read from memory once: mean, variance about the
 * mean and result are passes over what is in the cache by then. Rows, and in sums over rows channels, are spread over
 * threads; each is computed by one, so that their number changes nothing. */
#include <math.h>

#include "ops/declare.h"
#include "ops/map.h"
#include "ops/op_list.h"

/* LANES: sums side by side; FLUSH: elements after which they go to f64; PIECE: lanes of channels at once; NARROW: least
 * lanes of channels side by side for which layouts are taken */
enum { LANES = 16, FLUSH = 4096, PIECE = 32, NARROW = 8 };

/* Loops compiled with their user, for its vector width. */
#define DPT_INLINE static inline __attribute__((always_inline))

/* function(n, ...), compiled for the usual numbers of lanes besides. */
#define NORM_LANES(n, function, ...)       \
    do {                                   \
        const int64_t lanes_ = (n);        \
        if (lanes_ == 8)                   \
            function(8, __VA_ARGS__);      \
        else if (lanes_ == 16)             \
            function(16, __VA_ARGS__);     \
        else if (lanes_ == 32)             \
            function(32, __VA_ARGS__);     \
        else                               \
            function(lanes_, __VA_ARGS__); \
    } while (0)

/* Where the elements of a row stand: see row_norm_loops.h. */
typedef struct norm_row {
    int64_t elements, segments, segment_step, length, positions, step;
    bool plane, contiguous;
} norm_row;

typedef struct norm_run {
    norm_row row;
    int64_t rows, samples, groups, channels, width, spatial, lanes; /* rows: samples * groups; width: of a group */
    const void *x, *g, *more, *weight, *bias;                       /* more: what is added, or NULL */
    void *mean, *rstd, *y, *sum, *bias_out;
    double *sums; /* [2 channels] */
    double eps;
    bool centre;
} norm_run;

/* Of row r, in elements. */
static inline int64_t norm_row_at(const norm_run *run, int64_t r) {
    const int64_t sample = r / run->groups, c = r % run->groups * run->width;
    return sample * run->channels * run->spatial + c / run->lanes * run->lanes * run->spatial + c % run->lanes;
}

/* dx = g rstd w + (x - mean) slope + add */
typedef struct norm_slopes {
    double mean, rstd, slope, add;
} norm_slopes;

/* total: sum of w g, sum of w g (x - mean) over the row */
static inline norm_slopes norm_slopes_of(const norm_run *run, double mean, double rstd, const double total[2]) {
    const double n = (double)run->row.elements;
    return (norm_slopes){mean, rstd, -rstd * rstd * rstd * total[1] / n, run->centre ? -rstd * total[0] / n : 0};
}

#define REAL float
#define NAME(x) x##_f32
#include "ops/row_norm_loops.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_f64
#include "ops/row_norm_loops.h"
#undef REAL
#undef NAME

/* ---- calls ---- */

static norm_run run_of(const dpt_call *call, const dpt_operand *x) {
    norm_run run = {.groups = 1, .spatial = 1, .eps = call->attr.row_norm.eps, .centre = call->attr.row_norm.centre};
    if (call->attr.row_norm.groups > 0) {
        run.groups = call->attr.row_norm.groups;
        run.channels = x->dim[1];
        run.spatial = dpt_spatial_of(x);
        run.samples = x->axis < 0 ? x->dim[0] : dpt_valid_rows(call, x);
    } else {
        run.channels = 1;
        for (int i = x->ndim - call->attr.row_norm.dims; i < x->ndim; i++) run.channels *= x->dim[i];
        run.samples = dpt_valid_count(call, x) / run.channels;
    }
    run.lanes = run.spatial == 1 ? run.channels : dpt_layout_lanes(x->layout, run.channels);
    run.width = run.channels / run.groups;
    run.rows = run.samples * run.groups;
    norm_row *row = &run.row;
    row->elements = run.width * run.spatial;
    row->plane = run.lanes == 1 && run.spatial > 1;
    row->length = row->plane ? run.spatial : run.lanes < run.width ? run.lanes : run.width;
    row->segments = row->plane ? run.width : run.width / row->length;
    row->positions = row->plane ? 1 : run.spatial;
    row->step = run.lanes;
    row->segment_step = row->plane ? run.spatial : run.lanes * run.spatial;
    row->contiguous = row->plane || run.spatial == 1;
    run.x = x->data;
    return run;
}

static void run_rows(const dpt_call *call, norm_run *run, dpt_range_fn f32, dpt_range_fn f64) {
    dpt_parallel(call->device->threads, run->rows, DPT_MAP_GRAIN / 8 / run->row.elements + 1,
                 call->out[0].dtype == DPT_F32 ? f32 : f64, run);
}

static dpt_status forward_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_operand *in = call->in;
    const bool residual = call->attr.row_norm.residual, scale = call->attr.row_norm.scale;
    norm_run run = run_of(call, &in[0]);
    if (residual) run.more = in[1].data, run.sum = call->out[3].data;
    if (scale) run.weight = in[1 + residual].data;
    if (call->attr.row_norm.shift) run.bias = in[1 + residual + scale].data;
    run.y = call->out[0].data;
    run.mean = call->out[1].data;
    run.rstd = call->out[2].data;
    run_rows(call, &run, norm_forward_f32, norm_forward_f64);
    return DPT_OK;
}

static norm_run gradient_run_of(const dpt_call *call) {
    norm_run run = run_of(call, &call->in[1]);
    run.g = call->in[0].data;
    run.mean = call->in[2].data;
    run.rstd = call->in[3].data;
    run.y = call->out[0].data;
    return run;
}

static dpt_status grad_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    norm_run run = gradient_run_of(call);
    const bool scale = call->attr.row_norm.scale;
    if (scale) run.weight = call->in[4].data;
    if (call->attr.row_norm.residual) run.more = call->in[4 + scale].data;
    run_rows(call, &run, norm_backward_f32, norm_backward_f64);
    return DPT_OK;
}

static dpt_status param_grad_prepare(dpt_call *call) {
    call->workspace_bytes = 2 * (size_t)call->out[0].count * sizeof(double);
    return DPT_OK;
}

static dpt_status param_grad_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    norm_run run = gradient_run_of(call);
    run.bias_out = call->out[1].data;
    run.sums = call->workspace;
    const int64_t each = run.samples * run.spatial + 1;
    dpt_parallel(call->device->threads, run.channels, DPT_MAP_GRAIN / 8 / each + 1,
                 call->out[0].dtype == DPT_F32 ? norm_param_grad_f32 : norm_param_grad_f64, &run);
    return DPT_OK;
}

/* Groups of channels: x, and what is shaped like it, alike; groups must be whole blocks. Of a few lanes at once the
 * loops take many times as long as a reorder. */
static dpt_status layouts(const dpt_call *call, dpt_layout_choice *choice) {
    const int64_t groups = call->attr.row_norm.groups;
    if (groups == 0) return DPT_OK;
    const bool forward = call->op == DPT_OP_ROW_NORM;
    const int64_t width = call->in[0].dim[1] / groups;
    unsigned takes = 1U << DPT_LAYOUT_CANONICAL;
    if (width % NARROW == 0) takes |= 1U << DPT_LAYOUT_CHANNELS_LAST;
    for (int l = DPT_LAYOUT_BLOCKED_8; l <= DPT_LAYOUT_BLOCKED_16; l++) {
        const int64_t lanes = dpt_layout_lanes((dpt_layout)l, call->in[0].dim[1]);
        if (width % lanes == 0) takes |= 1U << l;
    }
    dpt_layouts_alike(call, choice, forward ? 1 : 3, call->op == DPT_OP_ROW_NORM_PARAMS ? 0 : 1, takes);
    return DPT_OK;
}

const dpt_kernel dpt_cpu_row_norm = {.run = forward_run, .layouts = layouts};
const dpt_kernel dpt_cpu_row_norm_grad = {.run = grad_run, .layouts = layouts};
const dpt_kernel dpt_cpu_row_norm_params = {.prepare = param_grad_prepare, .run = param_grad_run, .layouts = layouts};
