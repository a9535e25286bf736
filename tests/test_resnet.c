/* test_resnet.c: residual nets of the zoo against PyTorch: loss and norms of gradients of the first step, with
 * parameters and inputs from the hash that tests/golden/make_resnet.py has too. */
#include "base/memory.h"
#include "graph/graph.h"
#include "models/zoo.h"
#include "trainer_pair.h"

typedef struct resnet_golden {
    double loss, norm, first;
} resnet_golden;
#include "golden/resnet.h"

enum { ROWS = 4, INPUT = 1000 /* number of the input among the arrays */ };

static const dpt_model *model;
static int64_t size;
static dpt_model_stem stem;

static void build(dpt_graph *g) {
    dpt_model_options o = model->defaults;
    o.in_dim[1] = o.in_dim[2] = size;
    o.classes = 10;
    o.target_dtype = DPT_U8;
    o.stem = stem;
    CHECK_OK(model->build(g, &o));
}

/* In [-1, 1). */
static double uniform(int64_t array, int64_t i) {
    static const struct {
        int shift;
        uint32_t factor;
    } turn[] = {{15, 0x2c1b3c6d}, {12, 0x297a2d39}};
    uint32_t u = (uint32_t)((uint64_t)i * 2654435761U + (uint64_t)array * 40503U + 12345U);
    for (int k = 0; k < 2; k++) u = (u ^ u >> turn[k].shift) * turn[k].factor;
    u ^= u >> 15;
    return (double)u / 2147483648.0 - 1;
}

/* Of one dimension: near 1 where it is the weight of a batch norm, whose layers have three arrays. */
static void set_param(const trainer_side *s, int64_t number) {
    const dpt_param_info *p = &s->graph->param[number];
    const int64_t n = dpt_row_count(p->tensor);
    float *values = dpt_alloc((size_t)n * sizeof *values);
    const double scale = (double)(float)sqrt(3.0 / ((double)n / (double)p->tensor->dim[0]));
    for (int64_t i = 0; values && i < n; i++) {
        const double u = uniform(number, i);
        values[i] = (float)(p->tensor->ndim == 1 ? 0.2 * u + (number % 3 == 1) : u * scale);
    }
    CHECK_OK(dpt_trainer_set(s->trainer, DPT_PARAMETER, p->name, values, (size_t)n * sizeof *values));
    dpt_free(values);
}

static double norm_of(const trainer_side *s, const char *name) {
    const int64_t n = dpt_row_count(dpt_graph_find_param(s->graph, name)->tensor);
    float *values = dpt_alloc((size_t)n * sizeof *values);
    double sum = 0;
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_GRADIENT, name, values, (size_t)n * sizeof *values));
    for (int64_t i = 0; i < n; i++) sum += (double)values[i] * (double)values[i];
    dpt_free(values);
    return sqrt(sum);
}

static void check_model(const char *name, int64_t pixels, dpt_model_stem with, const resnet_golden *golden) {
    CHECK_OK(dpt_model_find(name, &model));
    size = pixels, stem = with;
    dpt_trainer_options options;
    dpt_trainer_options_init(&options);
    options.max_rows = ROWS;
    options.no_evaluation = 1;
    trainer_side s = {0};
    if (!trainer_side_open(&s, MPI_COMM_SELF, 2, build, &options)) return;
    for (int64_t i = 0; i < s.graph->n_param; i++) set_param(&s, i);
    const int64_t n = ROWS * 3 * size * size;
    float *x = dpt_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; x && i < n; i++) x[i] = (float)uniform(INPUT, i);
    const uint8_t y[ROWS] = {0, 1, 2, 3};
    const dpt_array in[] = {array_f32("x", x, ROWS), {"y", y, DPT_U8, DPT_HOST, ROWS, NULL}};
    dpt_metrics m;
    CHECK_OK(dpt_trainer_gradient(s.trainer, in, 2, &m));
    CHECK_NEAR(m.loss, golden->loss, 1e-4 * golden->loss);
    CHECK_NEAR(norm_of(&s, "conv1.weight") / golden->first, 1, 2e-3);
    double square = 0;
    for (int64_t i = 0; i < s.graph->n_param; i++) square += pow(norm_of(&s, s.graph->param[i].name), 2);
    CHECK_NEAR(sqrt(square) / golden->norm, 1, 4e-3); /* PyTorch in f32 is as far off */
    dpt_free(x);
    trainer_side_close(&s);
}

static void resnet18(void) { check_model("resnet18", 16, DPT_MODEL_STEM_SMALL, &resnet18_golden); }
static void resnet34(void) { check_model("resnet34", 16, DPT_MODEL_STEM_SMALL, &resnet34_golden); }
static void resnet50(void) { check_model("resnet50", 64, DPT_MODEL_STEM_LARGE, &resnet50_golden); }

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "resnet", {"resnet18", resnet18}, {"resnet34", resnet34}, {"resnet50", resnet50});
}
