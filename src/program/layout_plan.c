/* layout_plan.c: chooses the layout of every operand of a program.
 *
 * Each kernel says what its operands cost in each layout (dpt_kernel.layouts); operands that must be alike share one
 * variable. A tensor whose users want another layout than its maker gives needs a reorder for each such layout, shared
 * by those users: it reads and writes the tensor once. The sum of all that is made least by expansion moves: for one
 * layout after the other, every variable may move to it or stay, and the best such move of all variables together is a
 * minimum cut (Boykov, Veksler, Zabih 2001); sharing is exact in it. With two layouts in play, which is what a machine
 * has as a rule, one cut is the optimum. Equal cost means no move, so canonical stays where nothing is gained. The
 * result depends on the graph, the capacities and the kernels' answers alone. */
#include "program/layout_plan.h"

#include "backend/layout.h"
#include "base/memory.h"
#include "ops/op_list.h"
#include "program/min_cut.h"

/* What a reorder costs besides its bytes: a call more, and two copies of the tensor that live at the same time. */
enum { REORDER_BYTES = 64 << 10 };

static int64_t tensor_number(const dpt_tensor *t) { return t->node->id * DPT_MAX_OUT + t->index; }

static int64_t reorder_cost(const dpt_layout_plan *p, const dpt_tensor *t) {
    dpt_operand o;
    dpt_operand_fill(p->o->capacity, t, &o);
    return 2 * dpt_operand_bytes(&o) + REORDER_BYTES;
}

/* ---- variables ---- */

static dpt_status ask(const dpt_layout_plan *p, const dpt_node *n, dpt_call *call, dpt_layout_choice *choice) {
    *choice = (dpt_layout_choice){0};
    dpt_call_fill(p->o, n, call);
    for (int l = DPT_LAYOUT_CANONICAL + 1; l < DPT_LAYOUT_COUNT; l++) {
        for (int k = 0; k < DPT_MAX_IN; k++) choice->in[k][l] = DPT_LAYOUT_NEVER;
        for (int k = 0; k < DPT_MAX_OUT; k++) choice->out[k][l] = DPT_LAYOUT_NEVER;
    }
    const dpt_kernel *kernel = p->o->backend->kernels[n->op];
    if (kernel == NULL || kernel->layouts == NULL || n->n_in > DPT_MAX_IN) return DPT_OK;
    dpt_status status = kernel->layouts(call, choice);
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "%s \"%s\": ", dpt_op_of(n)->name, n->name);
}

static int layouts_left(const int64_t cost[DPT_LAYOUT_COUNT]) {
    int n = 0;
    for (int l = 0; l < DPT_LAYOUT_COUNT; l++) n += cost[l] < DPT_LAYOUT_NEVER;
    return n;
}

static bool only_canonical(const int64_t cost[DPT_LAYOUT_COUNT]) {
    return layouts_left(cost) == 1 && cost[DPT_LAYOUT_CANONICAL] < DPT_LAYOUT_NEVER;
}

static dpt_status add_variable(dpt_layout_plan *p, const int64_t cost[DPT_LAYOUT_COUNT], int64_t *number) {
    DPT_GROW(p->variable, p->n_variable, p->variable_capacity);
    dpt_layout_variable *v = &p->variable[p->n_variable];
    *v = (dpt_layout_variable){0};
    for (int l = 0; l < DPT_LAYOUT_COUNT; l++) v->cost[l] = cost[l];
    while (v->now < DPT_LAYOUT_COUNT - 1 && v->cost[v->now] >= DPT_LAYOUT_NEVER) v->now++;
    *number = p->n_variable++;
    return DPT_OK;
}

/* One operand: its own variable, or a share of its group's. An operand whose layouts have the same bytes is always
 * called canonical; its group may still take no layout that it does not fill. */
typedef struct operand_choice {
    const dpt_operand *o;
    const int64_t *cost;
    int64_t number; /* of the operand in the plan */
    bool alike;
} operand_choice;

static bool has_layouts(const dpt_operand *o) {
    for (int l = DPT_LAYOUT_CANONICAL + 1; l < DPT_LAYOUT_COUNT; l++)
        if (dpt_layout_fits(o, (dpt_layout)l)) return true;
    return false;
}

static dpt_status add_group(dpt_layout_plan *p, const operand_choice *c, int n) {
    int64_t cost[DPT_LAYOUT_COUNT] = {0}, number;
    bool any = false;
    for (int i = 0; i < n; i++) {
        if (!c[i].alike) continue;
        const bool has = has_layouts(c[i].o);
        any = any || has;
        for (int l = 0; l < DPT_LAYOUT_COUNT; l++)
            if (cost[l] >= DPT_LAYOUT_NEVER || c[i].cost[l] >= DPT_LAYOUT_NEVER)
                cost[l] = DPT_LAYOUT_NEVER;
            else if (has)
                cost[l] += c[i].cost[l];
    }
    DPT_CHECK(!any || layouts_left(cost) > 0, DPT_ERR_INTERNAL, "no layout is left for operands that must be alike");
    if (!any || only_canonical(cost)) return DPT_OK;
    DPT_TRY(add_variable(p, cost, &number));
    for (int i = 0; i < n; i++)
        if (c[i].alike && has_layouts(c[i].o)) p->of[c[i].number] = number;
    return DPT_OK;
}

static dpt_status add_operands(dpt_layout_plan *p, const dpt_node *n) {
    dpt_call call;
    dpt_layout_choice choice;
    operand_choice c[DPT_MAX_IN + DPT_MAX_OUT];
    int in = 0, out = 0;
    DPT_TRY(ask(p, n, &call, &choice));
    for (int k = 0; k < n->n_in && in < call.n_in; k++)
        if (!n->in[k]->token) {
            c[in] = (operand_choice){&call.in[in], choice.in[in], p->operand[n->id] + k, choice.alike_in >> in & 1};
            in++;
        }
    for (int k = 0; k < n->n_out; k++)
        if (!n->out[k].token) {
            c[in + out] = (operand_choice){&call.out[out], choice.out[out], p->operand[n->id] + n->n_in + k,
                                           choice.alike_out >> out & 1};
            out++;
        }
    for (int i = 0; i < in + out; i++)
        if (!c[i].alike && has_layouts(c[i].o) && !only_canonical(c[i].cost))
            DPT_TRY(add_variable(p, c[i].cost, &p->of[c[i].number]));
    return add_group(p, c, in + out);
}

static dpt_status add_use(dpt_layout_plan *p, const dpt_tensor *t, int64_t variable) {
    DPT_GROW(p->use, p->n_use, p->use_capacity);
    int64_t *first = &p->used[tensor_number(t)];
    p->use[p->n_use] = (dpt_layout_use){.variable = variable, .next = *first};
    *first = p->n_use++;
    return DPT_OK;
}

static dpt_status collect(dpt_layout_plan *p) {
    const dpt_graph *g = p->g;
    int64_t operands = 0;
    for (int64_t i = 0; i < g->n_node; i++) operands += g->node[i]->n_in + g->node[i]->n_out;
    p->operand = dpt_alloc((size_t)(g->n_node + 1) * sizeof *p->operand);
    p->of = dpt_alloc((size_t)(operands + 1) * sizeof *p->of);
    p->used = dpt_alloc((size_t)(g->n_node + 1) * DPT_MAX_OUT * sizeof *p->used);
    DPT_CHECK_ALLOC(p->operand);
    DPT_CHECK_ALLOC(p->of);
    DPT_CHECK_ALLOC(p->used);
    for (int64_t i = 0; i < operands; i++) p->of[i] = -1;
    for (int64_t i = 0; i < g->n_node * DPT_MAX_OUT; i++) p->used[i] = -1;
    for (int64_t i = 0, at = 0; i < g->n_node; i++) {
        p->operand[i] = at;
        at += g->node[i]->n_in + g->node[i]->n_out;
        DPT_TRY(add_operands(p, g->node[i]));
    }
    for (int64_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_in; k++) DPT_TRY(add_use(p, g->node[i]->in[k], p->of[p->operand[i] + k]));
    for (int64_t i = 0; i < g->n_output; i++) DPT_TRY(add_use(p, g->output[i].tensor, -1));
    return DPT_OK;
}

static int64_t made_by(const dpt_layout_plan *p, const dpt_tensor *t) {
    return p->of[p->operand[t->node->id] + t->node->n_in + t->index];
}

/* ---- one move ---- */

typedef struct move {
    const dpt_layout_plan *p;
    dpt_layout to;
    dpt_cut cut;
} move;

/* The node of a variable: with the source means that it moves. */
static int64_t node_of(int64_t variable) { return DPT_CUT_FIRST + variable; }
static dpt_layout before(const move *m, int64_t variable) { return dpt_layout_planned(m->p, variable); }
static bool may_move(const move *m, int64_t variable) { return variable >= 0 && before(m, variable) != m->to; }

/* Reorders from t to the layout of the move: one if any user is in it afterwards and the maker is not. */
static dpt_status join_moved(move *m, const dpt_tensor *t, int64_t maker) {
    int64_t any = -1, pays = may_move(m, maker) ? node_of(maker) : DPT_CUT_SINK;
    if (before(m, maker) == m->to) return DPT_OK;
    for (int64_t u = m->p->used[tensor_number(t)]; u >= 0; u = m->p->use[u].next) {
        const int64_t user = m->p->use[u].variable;
        if (!may_move(m, user) && before(m, user) != m->to) continue;
        if (any < 0) {
            DPT_TRY(dpt_cut_node(&m->cut, &any));
            DPT_TRY(dpt_cut_join(&m->cut, any, pays, reorder_cost(m->p, t)));
        }
        DPT_TRY(dpt_cut_join(&m->cut, may_move(m, user) ? node_of(user) : DPT_CUT_SOURCE, any, DPT_CUT_NEVER));
    }
    return DPT_OK;
}

/* Reorders from t to a layout that users leave: one if any of them stays in it and the maker is not in it. */
static dpt_status join_stayed(move *m, const dpt_tensor *t, int64_t maker, dpt_layout stay) {
    int64_t any = -1, pays = DPT_CUT_SOURCE;
    if (before(m, maker) == stay) {
        if (!may_move(m, maker)) return DPT_OK;
        pays = node_of(maker);
    }
    for (int64_t u = m->p->used[tensor_number(t)]; u >= 0; u = m->p->use[u].next) {
        const int64_t user = m->p->use[u].variable;
        if (before(m, user) != stay) continue;
        if (any < 0) {
            DPT_TRY(dpt_cut_node(&m->cut, &any));
            DPT_TRY(dpt_cut_join(&m->cut, pays, any, reorder_cost(m->p, t)));
        }
        DPT_TRY(dpt_cut_join(&m->cut, any, may_move(m, user) ? node_of(user) : DPT_CUT_SINK, DPT_CUT_NEVER));
    }
    return DPT_OK;
}

static dpt_status join_tensor(move *m, const dpt_tensor *t) {
    const int64_t maker = made_by(m->p, t);
    bool concerned = maker >= 0;
    for (int64_t u = m->p->used[tensor_number(t)]; u >= 0; u = m->p->use[u].next)
        concerned = concerned || m->p->use[u].variable >= 0;
    if (!concerned || t->token) return DPT_OK;
    DPT_TRY(join_moved(m, t, maker));
    for (int l = 0; l < DPT_LAYOUT_COUNT; l++)
        if (l != (int)m->to) DPT_TRY(join_stayed(m, t, maker, (dpt_layout)l));
    return DPT_OK;
}

static dpt_status fill_move(move *m) {
    const dpt_layout_plan *p = m->p;
    for (int64_t i = 0; i < p->n_variable; i++) {
        const dpt_layout_variable *v = &p->variable[i];
        int64_t node;
        DPT_TRY(dpt_cut_node(&m->cut, &node));
        DPT_TRY(dpt_cut_join(&m->cut, node, DPT_CUT_SINK, v->cost[m->to]));
        DPT_TRY(dpt_cut_join(&m->cut, DPT_CUT_SOURCE, node, v->cost[v->now]));
    }
    for (int64_t i = 0; i < p->g->n_node; i++)
        for (int k = 0; k < p->g->node[i]->n_out; k++) DPT_TRY(join_tensor(m, &p->g->node[i]->out[k]));
    return dpt_cut_solve(&m->cut);
}

static bool feasible(const dpt_layout_plan *p, dpt_layout layout) {
    for (int64_t i = 0; i < p->n_variable; i++)
        if (p->variable[i].now != layout && p->variable[i].cost[layout] < DPT_LAYOUT_NEVER) return true;
    return false;
}

static dpt_status try_move(dpt_layout_plan *p, dpt_layout to, bool *moved) {
    move m = {.p = p, .to = to};
    *moved = false;
    if (!feasible(p, to)) return DPT_OK;
    DPT_TRY(dpt_cut_begin(&m.cut));
    dpt_status status = fill_move(&m);
    for (int64_t i = 0; i < p->n_variable && status == DPT_OK; i++) {
        if (p->variable[i].now == to || !dpt_cut_with_source(&m.cut, node_of(i))) continue;
        p->variable[i].now = to;
        *moved = true;
    }
    dpt_cut_end(&m.cut);
    return status;
}

/* Every move lowers the cost, so a round without one comes. */
dpt_status dpt_layout_plan_improve(dpt_layout_plan *p) {
    for (bool any = true; any;) {
        any = false;
        for (int l = 0; l < DPT_LAYOUT_COUNT; l++) {
            bool moved;
            DPT_TRY(try_move(p, (dpt_layout)l, &moved));
            any = any || moved;
        }
    }
    return DPT_OK;
}

dpt_status dpt_layout_plan_make(dpt_layout_plan *plan, const dpt_graph *g, const dpt_program_options *o) {
    *plan = (dpt_layout_plan){.g = g, .o = o};
    dpt_status status = collect(plan);
    if (status == DPT_OK && !o->canonical) status = dpt_layout_plan_improve(plan);
    if (status != DPT_OK) dpt_layout_plan_free(plan);
    return status;
}

void dpt_layout_plan_free(dpt_layout_plan *p) {
    dpt_free(p->variable);
    dpt_free(p->operand);
    dpt_free(p->of);
    dpt_free(p->used);
    dpt_free(p->use);
    *p = (dpt_layout_plan){0};
}

/* ---- cost ---- */

/* What operands cost as they are, and what they would if all were canonical. */
static void charge(const dpt_operand *o, const int64_t cost[DPT_LAYOUT_COUNT], bool alike, dpt_layout_cost *sum) {
    if (alike && !has_layouts(o)) return;
    sum->inside += cost[o->layout];
    sum->canonical += cost[DPT_LAYOUT_CANONICAL];
}

dpt_status dpt_layout_cost_of(const dpt_graph *g, const dpt_program_options *o, dpt_layout_cost *cost) {
    const dpt_layout_plan p = {.g = g, .o = o};
    *cost = (dpt_layout_cost){0};
    for (int64_t i = 0; i < g->n_node; i++) {
        dpt_call call;
        dpt_layout_choice choice;
        if (g->node[i]->op == DPT_OP_REORDER) {
            cost->reorders++;
            cost->reordered += reorder_cost(&p, g->node[i]->in[0]);
            continue;
        }
        DPT_TRY(ask(&p, g->node[i], &call, &choice));
        for (int k = 0; k < call.n_in; k++) charge(&call.in[k], choice.in[k], choice.alike_in >> k & 1, cost);
        for (int k = 0; k < call.n_out; k++) charge(&call.out[k], choice.out[k], choice.alike_out >> k & 1, cost);
    }
    return DPT_OK;
}
