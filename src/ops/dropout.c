/* dropout.c: dropout. Element e of row r is drawn from quad e/4, word e%4, of (key, position of r in the global batch,
 * step): the same on every rank count, for the gradient and for a node that is computed again. The key comes from the
 * node's name, which the gradient's node therefore shares. */
#include "base/memory.h"
#include "base/random.h"
#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/map.h"

dpt_tensor *dpt_dropout_at(const char *file, int line, dpt_tensor *x, double probability, const char *name) {
    if (dpt_is_poison(x)) return x;
    dpt_graph *g = x->graph;
    if (name == NULL || name[0] == 0)
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "dropout: a name is needed: its draws come from it");
    if (!dpt_name_free(g, name))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "dropout \"%s\": the name is taken", name);
    if (!(probability >= 0 && probability < 1))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "dropout \"%s\": the probability is %g (0 to less than 1)",
                              name, probability);
    return dpt_apply(file, line, DPT_OP_DROPOUT, name, &(dpt_attr){.random = {probability}}, 1, &x);
}

/* A mask of ones by channel, drawn like any tensor, times x. */
dpt_tensor *dpt_dropout_channels_at(const char *file, int line, dpt_tensor *x, double probability, const char *name) {
    if (dpt_is_poison(x)) return x;
    if (x->ndim < 3 || !dpt_has_batch(x) || !dpt_is_float(x->dtype))
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE,
                              "dropout_channels \"%s\": x is %s %s: it must be floats [B, channels, positions]",
                              name ? name : "", dpt_dtype_text(x->dtype), dpt_shape_text(x));
    int64_t dim[DPT_MAX_NDIM] = {x->dim[0], x->dim[1]};
    dpt_tensor *one = dpt_scalar_at(file, line, x->graph, dpt_wide_dtype(x->dtype), 1);
    dpt_tensor *mask = dpt_dropout_at(file, line, dpt_broadcast_at(file, line, one, 2, dim), probability, name);
    if (dpt_is_poison(mask)) return mask;
    for (int i = 2; i < x->ndim; i++) dim[i] = 1;
    mask = dpt_reshape_at(file, line, dpt_cast_at(file, line, mask, x->dtype), x->ndim, dim);
    return dpt_mul_at(file, line, x, mask);
}

static dpt_status dropout_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    if (!dpt_is_float(x->dtype))
        return dpt_shape_error(node, "x is %s %s: it must be f32 or f64", dpt_dtype_text(x->dtype), dpt_shape_text(x));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

/* Within a step dropout is a fixed diagonal matrix: its gradient is itself. */
static void dropout_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_apply(DPT_AT(node), DPT_OP_DROPOUT, node->name, &node->attr, 1, gout);
}

static dpt_tensor *dropout_infer(const dpt_node *node, dpt_tensor *const *in) {
    (void)node;
    return in[0];
}

/* Philox is 10 rounds of two products and four exclusive-ors, shared by four elements. */
static double dropout_flop(const dpt_call *call) { return 16.0 * (double)call->out[0].count; }

typedef struct dropout_run {
    const void *x;
    void *y;
    uint64_t key, first_row;
    uint32_t step;
    int64_t row_count, quads; /* elements and quads of a row */
    float probability;
    double scale;
} dropout_run;

/* Quads drawn at a time. */
enum { DRAWS = 64 };

/* 1 where the element of the quads [first, first + n) of a row is kept, else 0. */
DPT_HOT_LOOP static void draw(const dropout_run *run, uint64_t row, uint32_t first, int n, float keep[4 * DRAWS]) {
    const uint64_t key = run->key;
    const uint32_t step = run->step;
    const float probability = run->probability;
#pragma omp simd
    for (int q = 0; q < n; q++) {
        const dpt_random4 r = dpt_random_quad(key, first + (uint32_t)q, row, step);
        keep[4 * q] = dpt_uniform_f32(r.v[0]) >= probability ? 1.0F : 0.0F;
        keep[4 * q + 1] = dpt_uniform_f32(r.v[1]) >= probability ? 1.0F : 0.0F;
        keep[4 * q + 2] = dpt_uniform_f32(r.v[2]) >= probability ? 1.0F : 0.0F;
        keep[4 * q + 3] = dpt_uniform_f32(r.v[3]) >= probability ? 1.0F : 0.0F;
    }
}

/* Quads [begin, end), counted through all rows. */
#define DROP(T)                                                                                            \
    DPT_HOT_LOOP static void drop_##T(void *context, int64_t begin, int64_t end) {                         \
        const dropout_run *run = context;                                                                  \
        const T scale = (T)run->scale;                                                                     \
        float keep[4 * DRAWS];                                                                             \
        while (begin < end) {                                                                              \
            const int64_t row = begin / run->quads, quad = begin % run->quads;                             \
            int64_t n = run->quads - quad < end - begin ? run->quads - quad : end - begin;                 \
            if (n > DRAWS) n = DRAWS;                                                                      \
            draw(run, run->first_row + (uint64_t)row, (uint32_t)quad, (int)n, keep);                       \
            const int64_t left = run->row_count - 4 * quad, count = 4 * n < left ? 4 * n : left;           \
            const int64_t first = row * run->row_count + 4 * quad;                                         \
            const T *x = (const T *)run->x + first;                                                        \
            T *y = (T *)run->y + first;                                                                    \
            _Pragma("omp simd") for (int64_t i = 0; i < count; i++) y[i] = keep[i] > 0 ? x[i] * scale : 0; \
            begin += n;                                                                                    \
        }                                                                                                  \
    }
DROP(float)
DROP(double)

typedef struct dropout_plan {
    uint64_t key;
} dropout_plan;

static dpt_status dropout_prepare(dpt_call *call) {
    dropout_plan *plan = dpt_alloc(sizeof *plan);
    DPT_CHECK_ALLOC(plan);
    plan->key = dpt_random_key(call->name, call->seed);
    call->plan = plan;
    return DPT_OK;
}

static dpt_status dropout_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_operand *x = &call->in[0];
    const double probability = call->attr.random.probability;
    dropout_run run = {.x = x->data,
                       .y = call->out[0].data,
                       .key = ((const dropout_plan *)call->plan)->key,
                       .first_row = x->axis < 0 ? 0 : (uint64_t)call->block->first_row[x->axis],
                       .step = (uint32_t)call->block->step,
                       .row_count = x->row_count,
                       .quads = (x->row_count + 3) / 4,
                       .probability = (float)probability,
                       .scale = 1.0 / (1.0 - probability)};
    dpt_parallel(call->device->threads, dpt_valid_rows(call, x) * run.quads, DPT_MAP_GRAIN / 16,
                 x->dtype == DPT_F32 ? drop_float : drop_double, &run);
    return DPT_OK;
}

static void dropout_release(dpt_call *call) {
    dpt_free(call->plan);
    call->plan = NULL;
}

const dpt_op dpt_op_dropout = {.name = "dropout",
                               .flags = DPT_IS_INPLACE | DPT_IS_DRAWS,
                               .rule = DPT_ROWWISE,
                               .linear = DPT_ADDITIVE,
                               .precision = DPT_ALONG,
                               .n_out = 1,
                               .shape = dropout_shape,
                               .gradient = dropout_gradient,
                               .flop = dropout_flop,
                               .infer = dropout_infer};
const dpt_kernel dpt_cpu_dropout = {.prepare = dropout_prepare, .run = dropout_kernel, .release = dropout_release};
