/* trainer_pair.c: see trainer_pair.h. */
#include "trainer_pair.h"

#include "base/memory.h"
#include "base/random.h"
#include "train/trainer.h"

enum { MAX_ARRAYS = 8 };

static int64_t weight_of(int rank, int world, int turn) {
    if (turn == SHARE_EVEN) return 1;
    if (turn == SHARE_ONE_EMPTY && world > 1 && rank == world / 2) return 0;
    if (turn == SHARE_FIRST_EMPTY) return world > 1 && rank == 0 ? 0 : world - rank;
    return rank + 1;
}

void share_of(int64_t rows, int turn, int64_t *begin, int64_t *count) {
    int64_t before = 0, total = 0;
    for (int r = 0; r < check_world(); r++) {
        const int64_t w = weight_of(r, check_world(), turn);
        total += w;
        if (r < check_rank()) before += w;
    }
    *begin = rows * before / total;
    *count = rows * (before + weight_of(check_rank(), check_world(), turn)) / total - *begin;
}

static int64_t row_count_of(const trainer_side *s, const char *name) {
    for (int64_t i = 0; i < s->graph->n_input; i++)
        if (strcmp(s->graph->input[i]->node->name, name) == 0) return dpt_row_count(s->graph->input[i]);
    CHECK_EQ_TEXT(name, "an input of the graph");
    return 0;
}

void share_arrays(const trainer_side *s, const dpt_array *whole, int n, int turn, dpt_array *mine) {
    for (int i = 0; i < n; i++) {
        int64_t begin;
        mine[i] = whole[i];
        if (whole[i].rows < 0) continue;
        share_of(whole[i].rows, turn, &begin, &mine[i].rows);
        const size_t row_bytes = (size_t)row_count_of(s, whole[i].name) * dpt_dtype_size(whole[i].dtype);
        mine[i].data = (const char *)whole[i].data + (size_t)begin * row_bytes;
    }
}

bool trainer_side_open(trainer_side *s, MPI_Comm comm, int threads, trainer_build_fn build,
                       const dpt_trainer_options *options) {
    *s = (trainer_side){0};
    if (!CHECK_OK(check_context(comm, threads, &s->ctx))) return false;
    s->graph = dpt_graph_create(s->ctx);
    build(s->graph);
    if (CHECK_OK(dpt_trainer_create(s->graph, options, &s->trainer))) return true;
    trainer_side_close(s);
    return false;
}

void trainer_side_close(trainer_side *s) {
    dpt_trainer_destroy(&s->trainer);
    dpt_graph_destroy(&s->graph);
    dpt_context_destroy(&s->ctx);
}

bool trainer_pair_open(trainer_pair *p, trainer_build_fn build, const dpt_trainer_options *options) {
    p->alone = (trainer_side){0};
    if (!trainer_side_open(&p->all, MPI_COMM_WORLD, 1, build, options)) return false;
    if (trainer_side_open(&p->alone, MPI_COMM_SELF, 1, build, options)) return true;
    trainer_pair_close(p);
    return false;
}

void trainer_pair_close(trainer_pair *p) {
    trainer_side_close(&p->all);
    trainer_side_close(&p->alone);
}

bool trainer_pair_gradient(trainer_pair *p, const dpt_array *whole, int n, int turn, dpt_metrics *all,
                           dpt_metrics *alone) {
    dpt_array mine[MAX_ARRAYS];
    share_arrays(&p->all, whole, n, turn, mine);
    bool ok = CHECK_OK(dpt_trainer_gradient(p->all.trainer, mine, n, all));
    return CHECK_OK(dpt_trainer_gradient(p->alone.trainer, whole, n, alone)) && ok;
}

dpt_status trainer_step_now(dpt_trainer *t, const dpt_array *in, int n_in, dpt_metrics *metrics) {
    dpt_status status = dpt_trainer_step(t, in, n_in, NULL);
    return status == DPT_OK && metrics ? dpt_trainer_sync(t, metrics) : status;
}

bool trainer_pair_step(trainer_pair *p, const dpt_array *whole, int n, int turn, dpt_metrics *all, dpt_metrics *alone) {
    dpt_array mine[MAX_ARRAYS];
    share_arrays(&p->all, whole, n, turn, mine);
    bool ok = CHECK_OK(trainer_step_now(p->all.trainer, mine, n, all));
    return CHECK_OK(trainer_step_now(p->alone.trainer, whole, n, alone)) && ok;
}

static const dpt_tensor *tensor_of(const dpt_graph *g, dpt_what what, const char *name) {
    if (what != DPT_STATE) return dpt_graph_find_param(g, name)->tensor;
    for (int64_t i = 0; i < g->n_state; i++)
        if (strcmp(g->state[i].name, name) == 0) return g->state[i].tensor;
    return NULL;
}

double trainer_distance(const trainer_side *a, const trainer_side *b, dpt_what what, const char *name) {
    const dpt_tensor *t = tensor_of(a->graph, what, name);
    const int64_t n = dpt_row_count(t);
    const size_t bytes = (size_t)n * dpt_dtype_size(t->dtype);
    void *x = dpt_alloc(bytes), *y = dpt_alloc(bytes);
    CHECK_OK(dpt_trainer_get(a->trainer, what, name, x, bytes));
    CHECK_OK(dpt_trainer_get(b->trainer, what, name, y, bytes));
    const double distance = t->dtype == DPT_F32 ? check_relative_f32(x, y, n) : check_relative_f64(x, y, n);
    dpt_free(x);
    dpt_free(y);
    return distance;
}

void trainer_sides_check(const trainer_side *a, const trainer_side *b, dpt_what what, double tolerance,
                         const char *against) {
    for (int64_t i = 0; i < a->graph->n_param; i++) {
        const char *name = a->graph->param[i].name;
        if (what == DPT_GRADIENT && a->graph->param[i].group.frozen) continue;
        const double d = trainer_distance(a, b, what, name);
        check_that(d <= tolerance, __FILE__, __LINE__, "%s \"%s\" differs from %s by %.3g (allowed %.3g)",
                   what == DPT_GRADIENT ? "gradient" : "parameter", name, against, d, tolerance);
    }
}

void trainer_pair_check_gradients(trainer_pair *p, double tolerance) {
    trainer_sides_check(&p->all, &p->alone, DPT_GRADIENT, tolerance, "one rank's");
}
void trainer_pair_check_parameters(trainer_pair *p, double tolerance) {
    trainer_sides_check(&p->all, &p->alone, DPT_PARAMETER, tolerance, "one rank's");
}

static double number(uint64_t key, int64_t i) {
    const dpt_random4 r = dpt_random_quad(key, (uint32_t)(i / 4), 0, 0);
    return 2 * (double)dpt_uniform_f32(r.v[i % 4]) - 1;
}

void fill_f32(const char *name, float *values, int64_t n) {
    const uint64_t key = dpt_random_key(name, 1);
    for (int64_t i = 0; i < n; i++) values[i] = (float)number(key, i);
}

void fill_products(int step, int64_t rows, int in, int out, float *x, float *t) {
    char name[16];
    snprintf(name, sizeof name, "x%d", step);
    fill_f32(name, x, rows * in);
    for (int64_t i = 0; i < rows * out; i++) t[i] = x[i / out * in] * x[i / out * in + i % out];
}

void fill_f64(const char *name, double *values, int64_t n) {
    const uint64_t key = dpt_random_key(name, 1);
    for (int64_t i = 0; i < n; i++) values[i] = number(key, i);
}
