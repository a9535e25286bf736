/* test_physics.c: a loss as physics-informed training has it: the mean square of a second derivative of an MLP by its
 * input on collocation points, a data loss on another number of points, a relative L2 norm over the batch. Gradients of
 * all parameters against finite differences in f64, on one rank and over ranks; f32 against f64. */
#include "graph/graph.h"
#include "trainer_pair.h"

enum { DATA = 13, POINTS = 21, WIDTH = 8, MOST = WIDTH * WIDTH };

/* u(x) = w3 tanh(w2 tanh(w1 x + b1) + b2) + b3 */
static dpt_tensor *network(dpt_tensor *x, dpt_tensor *const p[6]) {
    dpt_tensor *h = dpt_tanh(dpt_linear_with(x, p[0], p[1]));
    return dpt_linear_with(dpt_tanh(dpt_linear_with(h, p[2], p[3])), p[4], p[5]);
}

static void build(dpt_graph *g, dpt_dtype dtype) {
    static const char *const name[] = {"w1", "b1", "w2", "b2", "w3", "b3"};
    static const int64_t rows[] = {WIDTH, WIDTH, WIDTH, WIDTH, 1, 1}, columns[] = {1, 0, WIDTH, 0, WIDTH, 0};
    dpt_tensor *p[6];
    for (int i = 0; i < 6; i++)
        p[i] = dpt_param(g, name[i], dtype, columns[i] ? 2 : 1, ((int64_t[]){rows[i], columns[i]}),
                         ((dpt_init){DPT_INIT_NORMAL, 0, 0.7}));
    const int64_t points = dpt_batch_axis(g, "collocation");
    dpt_tensor *x = dpt_input(g, "x", dtype, 2, ((int64_t[]){DPT_BATCH, 1}));
    dpt_tensor *t = dpt_input(g, "t", dtype, 2, ((int64_t[]){DPT_BATCH, 1}));
    dpt_tensor *c = dpt_input(g, "c", dtype, 2, ((int64_t[]){points, 1}));
    dpt_tensor *u_xx = dpt_gradient(dpt_gradient(network(c, p), c), c);
    dpt_tensor *y = network(x, p), *e = dpt_sub(y, t);
    dpt_tensor *miss = dpt_sqrt(dpt_sum(dpt_mul(e, e), DPT_ALL_AXES, 0));
    dpt_tensor *size = dpt_sqrt(dpt_sum(dpt_mul(t, t), DPT_ALL_AXES, 0));
    dpt_loss_add(g, dpt_mul(u_xx, u_xx), 0.7, NULL);
    dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
    dpt_loss_add(g, dpt_div(miss, size), 0.3, NULL);
}
static void build_f64(dpt_graph *g) { build(g, DPT_F64); }
static void build_f32(dpt_graph *g) { build(g, DPT_F32); }

typedef struct batch {
    double x[DATA], t[DATA], c[POINTS];
    dpt_array array[3];
} batch;

static void fill(batch *b) {
    fill_f64("x", b->x, DATA);
    fill_f64("c", b->c, POINTS);
    for (int i = 0; i < DATA; i++) b->t[i] = sin(3 * b->x[i]);
    b->array[0] = array_f64("x", b->x, DATA);
    b->array[1] = array_f64("t", b->t, DATA);
    b->array[2] = array_f64("c", b->c, POINTS);
}

static dpt_trainer_options options_of(void) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = DATA;
    o.max_rows_of[1] = POINTS;
    return o;
}

static double u_of(const double *const p[6], double x) {
    double u = p[5][0], h[WIDTH];
    for (int i = 0; i < WIDTH; i++) h[i] = tanh(p[0][i] * x + p[1][i]);
    for (int i = 0; i < WIDTH; i++) {
        double z = p[3][i];
        for (int j = 0; j < WIDTH; j++) z += p[2][i * WIDTH + j] * h[j];
        u += p[4][i] * tanh(z);
    }
    return u;
}

/* The loss written out; u'' by differences of sixth order. */
static double loss_of(const batch *b, const double *const p[6]) {
    const double h = 0.01;
    double physics = 0, square = 0, size = 0;
    for (int i = 0; i < POINTS; i++) {
        double u[7];
        for (int k = 0; k < 7; k++) u[k] = u_of(p, b->c[i] + (k - 3) * h);
        const double u_xx =
            ((u[0] + u[6]) / 90 - 3 * (u[1] + u[5]) / 20 + 3 * (u[2] + u[4]) / 2 - 49 * u[3] / 18) / (h * h);
        physics += u_xx * u_xx / POINTS;
    }
    for (int i = 0; i < DATA; i++) {
        const double e = u_of(p, b->x[i]) - b->t[i];
        square += e * e;
        size += b->t[i] * b->t[i];
    }
    return 0.7 * physics + square / DATA + 0.3 * sqrt(square) / sqrt(size);
}

static int64_t read_parameters(const trainer_side *s, double value[6][MOST], const double *p[6], int64_t count[6]) {
    int64_t total = 0;
    for (int i = 0; i < 6; i++) {
        count[i] = dpt_row_count(s->graph->param[i].tensor);
        CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, s->graph->param[i].name, value[i], (size_t)count[i] * 8));
        p[i] = value[i];
        total += count[i];
    }
    return total;
}

/* The loss of the alone trainer with element k of parameter i moved. */
static double moved_loss(trainer_side *s, const batch *b, int i, double *value, int64_t count, int64_t k, double by) {
    const double was = value[k];
    dpt_metrics m = {0};
    value[k] += by;
    CHECK_OK(dpt_trainer_set(s->trainer, DPT_PARAMETER, s->graph->param[i].name, value, (size_t)count * 8));
    CHECK_OK(dpt_trainer_gradient(s->trainer, b->array, 3, &m));
    value[k] = was;
    CHECK_OK(dpt_trainer_set(s->trainer, DPT_PARAMETER, s->graph->param[i].name, value, (size_t)count * 8));
    return m.loss;
}

/* Central differences of fourth order of this rank's own trainer against the gradient over ranks. */
static void finite_differences(void) {
    const double h = 2e-3;
    trainer_pair pair;
    batch b;
    dpt_metrics all = {0}, alone = {0};
    double value[6][MOST], gradient[MOST], expected[MOST];
    const double *p[6];
    int64_t count[6];
    dpt_trainer_options o = options_of();
    fill(&b);
    if (!trainer_pair_open(&pair, build_f64, &o)) return;
    CHECK_EQ_I64(read_parameters(&pair.alone, value, p, count), 4 * WIDTH + WIDTH * WIDTH + 1);
    trainer_pair_gradient(&pair, b.array, 3, SHARE_ONE_EMPTY, &all, &alone);
    trainer_pair_check_gradients(&pair, 1e-12);
    CHECK_NEAR(all.loss, alone.loss, 1e-13);
    CHECK_NEAR(alone.loss, loss_of(&b, p), 1e-8);
    for (int i = 0; i < 6; i++) {
        const char *name = pair.all.graph->param[i].name;
        for (int64_t k = 0; k < count[i]; k++) {
            double f[4];
            for (int j = 0; j < 4; j++)
                f[j] = moved_loss(&pair.alone, &b, i, value[i], count[i], k, h * ((double[]){-2, -1, 1, 2})[j]);
            expected[k] = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
        }
        CHECK_OK(dpt_trainer_get(pair.all.trainer, DPT_GRADIENT, name, gradient, (size_t)count[i] * 8));
        const double d = check_relative_f64(gradient, expected, count[i]);
        check_that(d <= 1e-6, __FILE__, __LINE__, "gradient of \"%s\" is off by %.3g", name, d);
    }
    trainer_pair_close(&pair);
}

static void single_precision(void) {
    trainer_side f32, f64;
    batch b;
    dpt_array mine[3];
    dpt_metrics m32 = {0}, m64 = {0};
    dpt_trainer_options o = options_of();
    fill(&b);
    if (!trainer_side_open(&f64, MPI_COMM_WORLD, 1, build_f64, &o)) return;
    if (trainer_side_open(&f32, MPI_COMM_WORLD, 1, build_f32, &o)) {
        share_arrays(&f64, b.array, 3, SHARE_UNEVEN, mine);
        CHECK_OK(dpt_trainer_gradient(f64.trainer, mine, 3, &m64));
        CHECK_OK(dpt_trainer_gradient(f32.trainer, mine, 3, &m32));
        CHECK(fabs(m32.loss - m64.loss) <= 1e-5 * m64.loss);
        for (int64_t i = 0; i < f64.graph->n_param; i++) {
            const char *name = f64.graph->param[i].name;
            const int64_t n = dpt_row_count(f64.graph->param[i].tensor);
            double wide[MOST], as_wide[MOST];
            float narrow[MOST];
            CHECK_OK(dpt_trainer_get(f64.trainer, DPT_GRADIENT, name, wide, (size_t)n * 8));
            CHECK_OK(dpt_trainer_get(f32.trainer, DPT_GRADIENT, name, narrow, (size_t)n * 4));
            for (int64_t k = 0; k < n; k++) as_wide[k] = (double)narrow[k];
            const double d = check_relative_f64(as_wide, wide, n);
            check_that(d <= 1e-4, __FILE__, __LINE__, "f32 gradient of \"%s\" is off by %.3g", name, d);
        }
        trainer_side_close(&f32);
    }
    trainer_side_close(&f64);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "physics", {"finite_differences", finite_differences},
                      {"single_precision", single_precision});
}
