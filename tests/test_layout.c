/* test_layout.c: the layout pass, by what it leaves in graphs whose best layouts are known by hand, by rules that hold
 * for every graph, by trying all choices of small ones, and by what programs compute with it and without it. Besides
 * the CPU's own kernels, backends stand in whose convolutions want one given layout: what the pass does then is the
 * same on every machine. */
#include <stdio.h>

#include "backend/layout.h"
#include "base/memory.h"
#include "base/random.h"
#include "graph/op.h"
#include "ops/op_table.h"
#include "program/layout_plan.h"
#include "program/min_cut.h"
#include "program_models.h"

/* ---- backends ---- */

static dpt_layout wanted_layout; /* DPT_LAYOUT_COUNT: one or the other, by shape */

/* x and y of a convolution in the wanted layout, where they have it; canonical otherwise. */
static dpt_status wants_layout(const dpt_call *call, dpt_layout_choice *choice) {
    for (int k = 0; k < 2; k++) {
        const dpt_operand *o = k == 0 ? &call->in[0] : call->op == DPT_OP_CONV_WGRAD ? &call->in[1] : &call->out[0];
        int64_t *cost = k == 0 ? choice->in[0] : call->op == DPT_OP_CONV_WGRAD ? choice->in[1] : choice->out[0];
        const dpt_layout by_shape = (dpt_layout)((o->dim[1] / 4 + o->dim[2] + k) % DPT_LAYOUT_COUNT);
        const dpt_layout wanted = wanted_layout < DPT_LAYOUT_COUNT ? wanted_layout : by_shape;
        dpt_layouts_convert(cost, o, dpt_layout_fits(o, wanted) ? wanted : DPT_LAYOUT_CANONICAL);
    }
    return DPT_OK;
}

static dpt_status wants_to_fail(const dpt_call *call, dpt_layout_choice *choice) {
    (void)call, (void)choice;
    return dpt_error(DPT_ERR_UNSUPPORTED, "no layout suits");
}

/* The CPU's backend with other wishes of convolutions. */
static const dpt_backend *backend_of(dpt_status (*layouts)(const dpt_call *call, dpt_layout_choice *choice)) {
    static dpt_kernel kernels[DPT_OP_COUNT];
    static const dpt_kernel *table[DPT_OP_COUNT];
    static dpt_backend backend;
    static const int ops[] = {DPT_OP_CONV, DPT_OP_CONV_DGRAD, DPT_OP_CONV_WGRAD};
    for (int i = 0; i < DPT_OP_COUNT; i++) {
        table[i] = dpt_cpu_kernels[i];
        for (int k = 0; k < 3; k++)
            if (i == ops[k]) {
                kernels[i] = *dpt_cpu_kernels[i];
                kernels[i].layouts = layouts;
                table[i] = &kernels[i];
            }
    }
    backend.kernels = table;
    return &backend;
}

static const dpt_backend *backend_that_wants(dpt_layout layout) {
    wanted_layout = layout;
    return backend_of(wants_layout);
}

/* ---- rules that every graph keeps ---- */

typedef struct seen {
    int reorders, others; /* nodes: reorders; tensors that are not canonical */
    int dropout_canonical;
    uint64_t digest; /* of all layouts in order */
} seen;

static void check_operands(const dpt_node *n) {
    const bool takes = dpt_cpu_kernels[n->op] && dpt_cpu_kernels[n->op]->layouts;
    dpt_layout common = DPT_LAYOUT_CANONICAL;
    bool conv = n->op == DPT_OP_CONV || n->op == DPT_OP_CONV_DGRAD || n->op == DPT_OP_CONV_WGRAD;
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        const dpt_tensor *t = k < n->n_in ? n->in[k] : &n->out[k - n->n_in];
        if (t->token || t->layout == DPT_LAYOUT_CANONICAL) continue;
        check_that(takes && dpt_has_batch(t) && t->ndim > 2, __FILE__, __LINE__, "%s has layout %d", n->name,
                   (int)t->layout);
        if (conv || n->op == DPT_OP_REORDER) continue;
        CHECK(common == DPT_LAYOUT_CANONICAL || common == t->layout);
        common = t->layout;
    }
    for (int k = 0; k < n->n_in + n->n_out && common != DPT_LAYOUT_CANONICAL && !conv && n->op != DPT_OP_REORDER; k++) {
        const dpt_tensor *t = k < n->n_in ? n->in[k] : &n->out[k - n->n_in];
        dpt_operand o;
        int64_t capacity[DPT_MAX_AXES];
        for (int i = 0; i < DPT_MAX_AXES; i++) capacity[i] = PROGRAM_CAPACITY;
        dpt_operand_fill(capacity, t, &o);
        if (!t->token && dpt_layout_fits(&o, common))
            check_that(t->layout == common, __FILE__, __LINE__, "operands of %s differ", n->name);
    }
}

static void look(void *user, const char *pass, const dpt_graph *g) {
    seen *s = user;
    if (strcmp(pass, "layout") != 0) return;
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        check_operands(n);
        for (int k = 0; k < n->n_out; k++) {
            s->others += !n->out[k].token && n->out[k].layout != DPT_LAYOUT_CANONICAL;
            s->digest = s->digest * 31 + (uint64_t)n->out[k].layout + 7 * (uint64_t)n->op;
        }
        if (n->op == DPT_OP_DROPOUT) s->dropout_canonical += n->in[0]->layout == DPT_LAYOUT_CANONICAL;
        if (n->op != DPT_OP_REORDER) continue;
        s->reorders++;
        CHECK(n->in[0]->node->op != DPT_OP_REORDER && n->in[0]->layout != n->out[0].layout);
        CHECK_EQ_I64(n->out[0].layout, n->attr.reorder.to);
        for (int64_t j = 0; j < i; j++)
            CHECK(g->node[j]->op != DPT_OP_REORDER || g->node[j]->in[0] != n->in[0] ||
                  g->node[j]->out[0].layout != n->out[0].layout);
    }
    for (int64_t i = 0; i < g->n_output; i++) CHECK_EQ_I64(g->output[i].tensor->layout, DPT_LAYOUT_CANONICAL);
}

/* Graphs of tests, through a model of program_models.h. */
static seen compile(void (*build)(dpt_graph *g), const dpt_backend *backend, dpt_mode mode, bool canonical) {
    seen s = {0};
    program_run r;
    const program_model model = {"test", build};
    const program_choice choice = {
        .mode = mode, .world = 1, .after_pass = look, .user = &s, .backend = backend, .canonical = canonical};
    if (program_open(&r, &model, &choice)) program_close(&r);
    return s;
}

/* ---- graphs whose best layouts are known ---- */

static const int64_t rows[] = {DPT_BATCH}, pixels[] = {DPT_BATCH, 2, 8, 8}, wide[] = {DPT_BATCH, 16, 4, 2};
static const dpt_conv_options same = {.pad = 1};

static dpt_tensor *image(dpt_graph *g) { return dpt_input(g, "x", DPT_F32, 4, pixels); }
static void classify(dpt_graph *g, dpt_tensor *h) {
    dpt_tensor *y = dpt_linear(dpt_flatten(h), 4, "fc");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_cross_entropy(y, dpt_input(g, "class", DPT_I64, 1, rows)), 1, NULL);
}

/* One reorder, before flatten, where the tensor is smallest; everything from conv1 on is blocked. */
static void build_chain(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 2, 32, 32}));
    dpt_tensor *h = dpt_max_pool2d(dpt_relu(dpt_conv2d(x, 16, 3, 1, same, "conv1")), 2, 0, 0);
    classify(g, dpt_max_pool2d(dpt_relu(dpt_conv2d(h, 32, 3, 1, same, "conv2")), 2, 0, 0));
}
/* No reorder where flatten sees points. */
static void build_points(dpt_graph *g) {
    dpt_tensor *h = dpt_relu(dpt_conv2d(image(g), 16, 3, 1, same, "conv1"));
    classify(g, dpt_max_pool2d(dpt_relu(dpt_conv2d(h, 32, 3, 1, same, "conv2")), 8, 0, 0));
}
static void build_residual(dpt_graph *g) {
    dpt_tensor *h = dpt_conv2d(image(g), 16, 3, 1, same, "conv1");
    dpt_tensor *r = dpt_batch_norm(dpt_conv2d(h, 16, 3, 0, same, "conv2"), (dpt_batch_norm_options){0}, "bn");
    classify(g, dpt_max_pool2d(dpt_relu(dpt_add(h, r)), 8, 0, 0));
}
/* A blocked tensor that two convolutions read is an output and is flattened too: one reorder serves both. */
static void build_shared(dpt_graph *g) {
    dpt_tensor *h = dpt_relu(dpt_conv2d(image(g), 16, 3, 1, same, "conv1"));
    h = dpt_relu(dpt_conv2d(h, 16, 3, 1, same, "conv2"));
    dpt_output(g, "h", h);
    dpt_tensor *far = dpt_add(dpt_conv2d(h, 16, 3, 1, same, "conv3"), dpt_conv2d(h, 16, 3, 1, same, "conv4"));
    classify(g, dpt_add(dpt_linear(dpt_flatten(h), 16, "fc0"), dpt_flatten(dpt_max_pool2d(far, 8, 0, 0))));
}
/* Three convolutions of an input that is canonical: a reorder for all of them costs less than one in each. */
static void build_fan(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 16, 32, 32}));
    dpt_tensor *h = NULL;
    for (int i = 0; i < 3; i++) {
        const char *names[] = {"conv1", "conv2", "conv3"};
        dpt_tensor *y = dpt_conv2d(x, 16, 3, 1, same, names[i]);
        h = h ? dpt_add(h, y) : y;
    }
    classify(g, dpt_max_pool2d(h, 32, 0, 0));
}
/* A convolution between canonical neighbours: it converts by itself, which is never dearer than nodes that do. */
static void build_lonely(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, wide);
    dpt_tensor *y = dpt_conv2d(dpt_dropout(x, 0.5, "drop1"), 16, 3, 1, same, "conv");
    dpt_output(g, "sum", dpt_sum(dpt_dropout(y, 0.5, "drop2"), 14, 0));
}
/* Two images' worth of elementwise work without any convolution. */
static void build_plain(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, wide);
    classify(g, dpt_relu(dpt_max_pool2d(dpt_tanh(dpt_mul(x, x)), 2, 0, 0)));
}
/* Dropout counts elements in canonical order: blocked tensors are converted around it. */
static void build_dropout(dpt_graph *g) {
    dpt_tensor *h = dpt_relu(dpt_conv2d(image(g), 16, 3, 1, same, "conv1"));
    h = dpt_relu(dpt_conv2d(dpt_dropout(h, 0.5, "drop"), 16, 3, 1, same, "conv2"));
    classify(g, dpt_max_pool2d(h, 8, 0, 0));
}

/* A level of a U-Net: h, and beside it as many channels that come back from half the size. */
static dpt_tensor *beside_coarse(dpt_tensor *h, const char *name) {
    dpt_tensor *coarse = dpt_relu(dpt_conv2d(dpt_max_pool2d(h, 2, 2, 0), h->dim[1], 3, 1, same, name));
    return dpt_concat(((dpt_tensor *[]){h, dpt_resample(coarse, &h->dim[2], DPT_NEAREST)}), 2, 1);
}

/* Blocks of whole channels stay blocks beside each other: no reorder around a concatenation. */
static void build_levels(dpt_graph *g) {
    dpt_tensor *h = dpt_conv2d(image(g), 16, 3, 1, same, "conv1");
    h = beside_coarse(h, "conv2");
    classify(g, dpt_max_pool2d(dpt_conv2d(h, 16, 3, 1, same, "conv3"), 8, 0, 0));
}

static void known(void) {
    const dpt_backend *blocked = backend_that_wants(DPT_LAYOUT_BLOCKED_16);
    seen s = compile(build_chain, blocked, DPT_MODE_PREDICT, false);
    CHECK(s.reorders == 1 && s.others == 7); /* convolutions, pools with their indices, the relu between */
    s = compile(build_points, blocked, DPT_MODE_PREDICT, false);
    CHECK(s.reorders == 0 && s.others == 2);
    s = compile(build_points, blocked, DPT_MODE_TRAIN, false);
    CHECK(s.reorders == 0 && s.others >= 4);
    s = compile(build_residual, blocked, DPT_MODE_TRAIN, false);
    CHECK(s.reorders == 0 && s.others >= 7); /* ReLU and its gradient stand behind the max-pool */
    s = compile(build_shared, blocked, DPT_MODE_PREDICT, false);
    CHECK(s.reorders == 1 && s.others == 5); /* the convolutions and their sum */
    s = compile(build_fan, blocked, DPT_MODE_PREDICT, false);
    CHECK(s.reorders == 1 && s.others == 6);
    s = compile(build_dropout, blocked, DPT_MODE_TRAIN, false);
    CHECK_EQ_I64(s.dropout_canonical, 2);
    s = compile(build_levels, blocked, DPT_MODE_PREDICT, false);
    CHECK(s.reorders == 0 && s.others == 7); /* convolutions, the pool with its index, both sides, the whole */
    s = compile(build_levels, blocked, DPT_MODE_TRAIN, false);
    CHECK(s.reorders == 0 && s.others >= 12);
}

/* Where nothing is gained everything stays as it was: no convolution, a lone one, kernels that want canonical. */
static void canonical_is_best(void) {
    const dpt_backend *blocked = backend_that_wants(DPT_LAYOUT_BLOCKED_16);
    seen s = compile(build_plain, blocked, DPT_MODE_TRAIN, false);
    CHECK(s.reorders == 0 && s.others == 0);
    s = compile(build_lonely, blocked, DPT_MODE_PREDICT, false);
    CHECK(s.reorders == 0 && s.others == 0);
    s = compile(build_chain, blocked, DPT_MODE_TRAIN, true);
    CHECK(s.reorders == 0 && s.others == 0);
    s = compile(build_chain, backend_that_wants(DPT_LAYOUT_CANONICAL), DPT_MODE_TRAIN, false);
    CHECK(s.reorders == 0 && s.others == 0);
}

/* ---- random networks ---- */

static uint64_t net_seed;
static int net_draw(int *at, int n) {
    return (int)(dpt_random_quad(net_seed, (uint32_t)(*at)++, 0, 0).v[0] % (uint32_t)n);
}

static dpt_tensor *random_layer(dpt_tensor *h, int *at, int number) {
    static const int64_t channels[] = {16, 32, 24, 20};
    char name[16];
    snprintf(name, sizeof name, "layer%d", number);
    const int64_t c = h->dim[1], side = h->dim[2];
    switch (net_draw(at, 10)) {
        case 0: return dpt_relu(h);
        case 1: return dpt_add(dpt_conv2d(h, c, 3, 1, same, name), h);
        case 2: return dpt_batch_norm(h, (dpt_batch_norm_options){0}, name);
        case 3: return side >= 2 ? dpt_max_pool2d(h, 2, 2, 0) : dpt_tanh(h);
        case 4: return side >= 3 ? dpt_max_pool2d(h, 3, 2, 1) : dpt_scale(h, 0.5);
        case 5: return net_draw(at, 3) ? dpt_mul(h, dpt_tanh(h)) : dpt_dropout(h, 0.25, name);
        case 6:
            return dpt_conv2d(h, channels[net_draw(at, 4)], 1, 1, ((dpt_conv_options){.stride = 1 + net_draw(at, 2)}),
                              name);
        case 7: return c <= 48 && side >= 2 && side % 2 == 0 ? beside_coarse(h, name) : dpt_relu(h);
        default: return dpt_conv2d(h, channels[net_draw(at, 4)], 3, 1, same, name);
    }
}

static void build_random(dpt_graph *g) {
    int at = 0, layers = 3 + net_draw(&at, 8);
    dpt_tensor *h = dpt_conv2d(image(g), 16 * (1 + net_draw(&at, 2)), 3, 1, same, "first");
    for (int i = 0; i < layers; i++) {
        h = random_layer(h, &at, i);
        char name[16];
        snprintf(name, sizeof name, "out%d", i);
        if (net_draw(&at, 6) == 0) dpt_output(g, name, h);
    }
    classify(g, h);
}

/* Relative error of each gradient and of the loss, with the pass against without it. */
static void compare_gradients(const program_run *a, const program_run *b, const char *what) {
    for (int64_t i = 0; i < a->graph->n_param; i++) {
        const dpt_slot *slot = &a->plan.grad[i];
        const float *x = (const float *)(a->arenas.grad + slot->offset),
                    *y = (const float *)(b->arenas.grad + slot->offset);
        const int64_t n = slot->bytes / 4;
        double scale = 0;
        for (int64_t k = 0; k < n; k++) scale += (double)y[k] * (double)y[k];
        if (sqrt(scale) < 1e-5) continue; /* of a bias before batch norm: rounding alone */
        const double error = check_relative_f32(x, y, n);
        check_that(error <= 1e-6, __FILE__, __LINE__, "%s, seed %lld: gradient of %s differs by %g", what,
                   (long long)net_seed, a->graph->param[i].name, error);
    }
    const float *x = (const float *)(a->arenas.grad + a->plan.loss.offset),
                *y = (const float *)(b->arenas.grad + b->plan.loss.offset);
    CHECK(fabsf(x[0] - y[0]) <= 1e-6f * fabsf(y[0]) && y[0] != 0);
}

static int compare_programs(const dpt_backend *backend, const char *what) {
    program_run with, without;
    seen s = {0};
    const program_model model = {what, build_random};
    program_choice choice = {.mode = DPT_MODE_GRADIENT, .world = 1, .backend = backend, .after_pass = look, .user = &s};
    if (!program_open(&with, &model, &choice)) return 0;
    choice.canonical = true;
    choice.after_pass = NULL;
    if (program_open(&without, &model, &choice)) {
        if (program_run_once(&with) && program_run_once(&without)) compare_gradients(&with, &without, what);
        program_close(&without);
    }
    program_close(&with);
    return s.others;
}

enum { NETS = CHECK_IS_SLOW ? 5 : 40 };

static void random_programs(void) {
    int others[5] = {0};
    for (net_seed = 1; net_seed <= NETS; net_seed++) {
        others[0] += compare_programs(NULL, "cpu");
        others[1] += compare_programs(backend_that_wants(DPT_LAYOUT_CHANNELS_LAST), "channels-last");
        others[2] += compare_programs(backend_that_wants(DPT_LAYOUT_BLOCKED_8), "blocked-8");
        others[3] += compare_programs(backend_that_wants(DPT_LAYOUT_BLOCKED_16), "blocked-16");
        others[4] += compare_programs(backend_that_wants(DPT_LAYOUT_COUNT), "mixed");
    }
    for (int i = 1; i < 5; i++) CHECK(others[i] > NETS); /* the pass had something to do */
}

/* The same graph gives the same program; without fusion the rules hold too. */
static void repeatable(void) {
    const dpt_mode modes[] = {DPT_MODE_TRAIN, DPT_MODE_PREDICT, DPT_MODE_EVALUATE};
    for (net_seed = 1; net_seed <= NETS; net_seed++)
        for (int m = 0; m < 3; m++) {
            const dpt_backend *backend = backend_that_wants((dpt_layout)(1 + net_seed % DPT_LAYOUT_COUNT));
            const seen a = compile(build_random, backend, modes[m], false),
                       b = compile(build_random, backend, modes[m], false);
            CHECK(a.digest == b.digest && a.reorders == b.reorders);
        }
}

/* ---- against all choices ---- */

/* What a plan costs, from its parts, without the pass's own sums. */
static int64_t cost_of_plan(const dpt_layout_plan *p) {
    int64_t cost = 0;
    for (int64_t i = 0; i < p->n_variable; i++) cost += p->variable[i].cost[p->variable[i].now];
    for (int64_t i = 0; i < p->g->n_node; i++)
        for (int k = 0; k < p->g->node[i]->n_out; k++) {
            const dpt_tensor *t = &p->g->node[i]->out[k];
            bool has[DPT_LAYOUT_COUNT] = {false};
            if (t->token) continue;
            for (int64_t j = 0; j < p->g->n_node; j++)
                for (int l = 0; l < p->g->node[j]->n_in; l++)
                    if (p->g->node[j]->in[l] == t) has[dpt_layout_of_in(p, p->g->node[j], l)] = true;
            for (int64_t j = 0; j < p->g->n_output; j++)
                if (p->g->output[j].tensor == t) has[DPT_LAYOUT_CANONICAL] = true;
            has[dpt_layout_of_out(p, p->g->node[i], k)] = false;
            const int64_t bytes = dpt_row_count(t) * (dpt_has_batch(t) ? p->o->capacity[dpt_tensor_axis(t)] : 1) *
                                  (int64_t)dpt_dtype_size(t->dtype);
            for (int l = 0; l < DPT_LAYOUT_COUNT; l++) cost += has[l] ? 2 * bytes + (64 << 10) : 0;
        }
    return cost;
}

typedef struct trial {
    dpt_program_options o;
    int tried;
} trial;

enum { MOST_VARIABLES = 12 };

/* The least cost of all choices between each variable's layout in `from` (canonical where NULL) and `to`. */
static int64_t least_cost(dpt_layout_plan *p, const dpt_layout *from, dpt_layout to) {
    int64_t least = INT64_MAX;
    for (uint32_t bits = 0; bits < 1u << p->n_variable; bits++) {
        bool possible = true;
        for (int i = 0; i < (int)p->n_variable; i++) {
            dpt_layout_variable *v = &p->variable[i];
            v->now = bits >> i & 1 ? to : from ? from[i] : DPT_LAYOUT_CANONICAL;
            possible = possible && v->cost[v->now] < DPT_LAYOUT_NEVER;
        }
        const int64_t cost = possible ? cost_of_plan(p) : INT64_MAX;
        if (cost < least) least = cost;
    }
    return least;
}

/* With one wanted layout nothing is better than the plan; with several no move to any one layout makes it better. */
static void try_all(void *user, const char *pass, const dpt_graph *g) {
    trial *t = user;
    dpt_layout_plan p;
    dpt_layout planned[MOST_VARIABLES];
    if (strcmp(pass, "fuse") != 0) return;
    if (!CHECK_OK(dpt_layout_plan_make(&p, g, &t->o))) return;
    const int64_t cost = cost_of_plan(&p);
    for (int64_t i = 0; i < p.n_variable && i < MOST_VARIABLES; i++) planned[i] = p.variable[i].now;
    for (int l = 0; l < DPT_LAYOUT_COUNT && p.n_variable <= MOST_VARIABLES; l++) {
        const bool one = wanted_layout < DPT_LAYOUT_COUNT;
        if (one && l != (int)wanted_layout) continue;
        const int64_t least = least_cost(&p, one ? NULL : planned, (dpt_layout)l);
        check_that(cost == least, __FILE__, __LINE__, "seed %lld: planned %lld, possible %lld", (long long)net_seed,
                   (long long)cost, (long long)least);
        t->tried++;
        if (!one) continue;
        for (int64_t i = 0; i < p.n_variable; i++) /* from the other end */
            p.variable[i].now = p.variable[i].cost[l] < DPT_LAYOUT_NEVER ? (dpt_layout)l : DPT_LAYOUT_CANONICAL;
        CHECK_OK(dpt_layout_plan_improve(&p));
        CHECK_EQ_I64(cost_of_plan(&p), least);
    }
    dpt_layout_plan_free(&p);
}

static void optimal(void) {
    trial t = {.o = {.mode = DPT_MODE_PREDICT}};
    for (int i = 0; i < DPT_MAX_AXES; i++) t.o.capacity[i] = PROGRAM_CAPACITY;
    for (net_seed = 1; net_seed <= 3 * NETS; net_seed++) {
        program_run r;
        const program_model model = {"random", build_random};
        dpt_device device = {.threads = 1};
        t.o.backend = backend_that_wants((dpt_layout)(1 + net_seed % DPT_LAYOUT_COUNT));
        t.o.device = &device;
        const program_choice choice = {
            .mode = DPT_MODE_PREDICT, .world = 1, .after_pass = try_all, .user = &t, .backend = t.o.backend};
        if (program_open(&r, &model, &choice)) program_close(&r);
    }
    CHECK(t.tried > NETS);
}

/* ---- minimum cuts ---- */

enum { CUT_NODES = 9, CUT_EDGES = 24, CUT_TRIALS = CHECK_IS_SLOW ? 40 : 200 };

static void cuts(void) {
    for (uint32_t trial_number = 0; trial_number < CUT_TRIALS; trial_number++) {
        int64_t from[CUT_EDGES], to[CUT_EDGES], weight[CUT_EDGES], least = INT64_MAX, found = 0, node, fewest = 0,
                                                                   size = 0;
        dpt_cut cut;
        CHECK_OK(dpt_cut_begin(&cut));
        for (int i = DPT_CUT_FIRST; i < CUT_NODES; i++) CHECK_OK(dpt_cut_node(&cut, &node));
        for (int e = 0; e < CUT_EDGES; e++) {
            const dpt_random4 r = dpt_random_quad(9, (uint32_t)e, trial_number, 0);
            from[e] = r.v[0] % CUT_NODES, to[e] = r.v[1] % CUT_NODES, weight[e] = r.v[2] % 10;
            CHECK_OK(dpt_cut_join(&cut, from[e], to[e], weight[e]));
        }
        CHECK_OK(dpt_cut_solve(&cut));
        for (uint32_t side = 1; side < 1u << CUT_NODES; side++) { /* bit: with the source, which is node 0 */
            int64_t cost = 0;
            if (!(side & 1) || side >> DPT_CUT_SINK & 1) continue;
            for (int e = 0; e < CUT_EDGES; e++) cost += side >> from[e] & 1 && !(side >> to[e] & 1) ? weight[e] : 0;
            const int64_t n = __builtin_popcount(side);
            if (cost < least || (cost == least && n < fewest)) least = cost, fewest = n;
        }
        for (int e = 0; e < CUT_EDGES; e++)
            found += dpt_cut_with_source(&cut, from[e]) && !dpt_cut_with_source(&cut, to[e]) ? weight[e] : 0;
        for (int i = 0; i < CUT_NODES; i++) size += dpt_cut_with_source(&cut, i);
        CHECK_EQ_I64(found, least);
        CHECK_EQ_I64(size, fewest);
        dpt_cut_end(&cut);
    }
}

/* ---- failures ---- */

static void failures(void) {
    program_run r;
    const program_model model = {"chain", build_chain};
    program_choice choice = {.mode = DPT_MODE_TRAIN, .world = 4, .backend = backend_that_wants(DPT_LAYOUT_BLOCKED_16)};
    if (!program_open(&r, &model, &choice)) return;
    dpt_program_options o = r.program->options;
    dpt_program *p = NULL;
    const int64_t before = dpt_alloc_count();
    if (CHECK_OK(dpt_program_create(r.graph, &o, &p))) dpt_program_destroy(&p);
    const int64_t allocations = dpt_alloc_count() - before;
    for (int64_t i = 1; i <= allocations; i++) {
        dpt_alloc_fail_at(i);
        const dpt_status status = dpt_program_create(r.graph, &o, &p);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_ERR_MEMORY && p == NULL);
        dpt_program_destroy(&p);
    }
    o.backend = backend_of(wants_to_fail);
    CHECK_FAILS(dpt_program_create(r.graph, &o, &p), DPT_ERR_UNSUPPORTED, "conv \"conv1\": no layout suits");
    program_close(&r);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "layout", {"known", known}, {"canonical_is_best", canonical_is_best},
                      {"random_programs", random_programs}, {"repeatable", repeatable}, {"optimal", optimal},
                      {"cuts", cuts}, {"failures", failures});
}
