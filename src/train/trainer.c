/* trainer.c: making a trainer: plan the arenas, compile a program a mode, take all memory at once, start the values. */
#include "train/trainer.h"

#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "graph/init.h"
#include "program/buckets.h"

void dpt_trainer_options_init(dpt_trainer_options *o) {
    *o = (dpt_trainer_options){.struct_size = sizeof *o,
                               .optimizer = DPT_SGD,
                               .lr = 0.01,
                               .momentum = 0.9,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .eps = 1e-8,
                               .trust = 0.001,
                               .accumulate = 1};
}

static dpt_status check_options(const dpt_trainer_options *o) {
    DPT_CHECK(o->struct_size == sizeof *o, DPT_ERR_ARG,
              "dpt_trainer_options was not started by dpt_trainer_options_init");
    DPT_CHECK(o->max_rows > 0, DPT_ERR_ARG, "max_rows is %lld: the most rows of this rank in a step are needed",
              (long long)o->max_rows);
    DPT_CHECK(o->length >= 0, DPT_ERR_ARG, "length is %lld", (long long)o->length);
    DPT_CHECK(o->accumulate >= 1, DPT_ERR_ARG, "accumulate is %d: at least 1", o->accumulate);
    DPT_CHECK((unsigned)o->precision < (unsigned)DPT_PRECISION_COUNT, DPT_ERR_ARG, "precision %d", (int)o->precision);
    DPT_CHECK((unsigned)o->optimizer <= (unsigned)DPT_LAMB, DPT_ERR_ARG, "optimizer %d", (int)o->optimizer);
    DPT_CHECK(!o->nesterov || (o->optimizer == DPT_SGD && o->momentum > 0), DPT_ERR_ARG,
              "nesterov goes with SGD and a momentum above 0");
    DPT_CHECK(o->trust > 0 || o->optimizer != DPT_LARS, DPT_ERR_ARG, "trust is %g: LARS needs one above 0", o->trust);
    DPT_CHECK(o->average_decay >= 0 && o->average_decay < 1, DPT_ERR_ARG, "average_decay is %g: in [0, 1)",
              o->average_decay);
    DPT_CHECK(o->lr >= 0 && o->momentum >= 0 && o->weight_decay >= 0 && o->clip_norm >= 0 && o->eps >= 0, DPT_ERR_ARG,
              "lr, momentum, weight_decay, clip_norm and eps are at least 0");
    DPT_CHECK(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1, DPT_ERR_ARG,
              "beta1 is %g, beta2 %g: in [0, 1)", o->beta1, o->beta2);
    DPT_CHECK(o->zero == 0 || o->zero == 1, DPT_ERR_ARG, "zero is %d: 0, or 1 for moments shared out over ranks",
              o->zero);
    DPT_CHECK(!o->update_by_bucket || (o->optimizer != DPT_LARS && o->optimizer != DPT_LAMB), DPT_ERR_ARG,
              "update_by_bucket goes without LARS and LAMB");
    DPT_CHECK(!o->update_by_bucket || o->clip_norm == 0, DPT_ERR_ARG,
              "update_by_bucket and clip_norm exclude each other: the norm of all gradients is known when the last one "
              "has arrived");
    return DPT_OK;
}

dpt_update_rule dpt_trainer_update_rule(const dpt_trainer_options *o) {
    static const dpt_update_kind kinds[] = {DPT_UPDATE_SGD, DPT_UPDATE_ADAMW, DPT_UPDATE_ADAM, DPT_UPDATE_LARS,
                                            DPT_UPDATE_LAMB};
    return (dpt_update_rule){.kind = kinds[o->optimizer],
                             .momentum = o->momentum,
                             .nesterov = o->nesterov != 0,
                             .beta1 = o->beta1,
                             .beta2 = o->beta2,
                             .eps = o->eps,
                             .trust = o->trust,
                             .average = o->average_decay,
                             .weight_decay = o->weight_decay,
                             .clip_norm = o->clip_norm,
                             .by_bucket = o->update_by_bucket != 0};
}

static dpt_program_options program_options(const dpt_trainer *t, dpt_mode mode) {
    const dpt_trainer_options *o = &t->o;
    dpt_program_options p = {.mode = mode,
                             .rank = t->ctx->control.rank,
                             .world = t->ctx->control.world,
                             .exchange = t->ctx->comm.exchanges,
                             .backend = t->ctx->backend,
                             .device = &t->ctx->device,
                             .arenas = &t->plan,
                             .seed = o->seed,
                             .length = o->length,
                             .precision = o->precision,
                             .recompute = o->recompute,
                             .update = dpt_trainer_update_rule(o)};
    memcpy(p.capacity, t->capacity, sizeof p.capacity);
    return p;
}

/* A single process may hand over all its rows at once to programs that make no micro-batches. */
static dpt_status compile(dpt_trainer *t, dpt_mode mode, bool gathers, dpt_compiled *c) {
    dpt_program_options p = program_options(t, mode);
    p.gathers = gathers && t->plan.sharded;
    DPT_TRY(dpt_program_create(t->graph, &p, &c->program));
    size_t bytes = (size_t)(c->program->activation_bytes + c->program->workspace_bytes);
    if (bytes > t->activation_bytes) t->activation_bytes = bytes;
    return DPT_OK;
}

static bool has_masks(const dpt_graph *g) {
    for (int64_t i = 0; i < g->n_loss; i++)
        if (g->loss[i].mask) return true;
    return false;
}

dpt_status dpt_trainer_compile(dpt_trainer *t) {
    for (int i = 0; i < t->graph->n_axis; i++) {
        int64_t rows = i == 0 || t->o.max_rows_of[i] == 0 ? t->o.max_rows : t->o.max_rows_of[i];
        t->capacity[i] = (rows + t->o.accumulate - 1) / t->o.accumulate;
    }
    if (t->graph->n_loss > 0) {
        if (t->o.accumulate == 1) {
            DPT_TRY(compile(t, DPT_MODE_TRAIN, true, &t->train));
            DPT_TRY(compile(t, DPT_MODE_GRADIENT, false, &t->gradient));
        } else {
            if (t->plan.sharded) DPT_TRY(compile(t, DPT_MODE_ACCUMULATE, true, &t->first));
            DPT_TRY(compile(t, DPT_MODE_ACCUMULATE, false, &t->accumulate));
            DPT_TRY(compile(t, DPT_MODE_APPLY, false, &t->apply));
            if (has_masks(t->graph)) DPT_TRY(compile(t, DPT_MODE_COUNT, false, &t->count));
        }
    }
    if (t->o.no_evaluation) return DPT_OK;
    DPT_TRY(compile(t, DPT_MODE_EVALUATE, false, &t->evaluate));
    return t->graph->n_output ? compile(t, DPT_MODE_PREDICT, false, &t->predict) : DPT_OK;
}

dpt_compiled *const *dpt_trainer_compiled(dpt_trainer *t, dpt_compiled *list[DPT_COMPILED_MAX]) {
    dpt_compiled *c[] = {&t->train,    &t->count,   &t->first, &t->accumulate, &t->apply, &t->gradient,
                         &t->evaluate, &t->predict, NULL};
    memcpy(list, c, sizeof c);
    return list;
}

static dpt_status open_sessions(dpt_trainer *t) {
    dpt_compiled *list[DPT_COMPILED_MAX];
    for (dpt_compiled *const *c = dpt_trainer_compiled(t, list); *c; c++) {
        if ((*c)->program == NULL) continue;
        dpt_session_options o = {.program = (*c)->program,
                                 .comm = &t->ctx->comm,
                                 .control = &t->ctx->control,
                                 .arenas = t->arenas,
                                 .activations = t->activations,
                                 .stream = t->stream,
                                 .inbox = t->inbox};
        if (*c == &t->evaluate || *c == &t->predict) {
            o.arenas.state = t->merged_state;
            if (t->arenas.average) o.arenas.param = t->arenas.average;
        }
        DPT_TRY(dpt_session_create(&o, &(*c)->session));
    }
    return DPT_OK;
}

static dpt_status start_params(dpt_trainer *t) {
    for (int64_t i = 0; i < t->graph->n_param; i++) {
        const dpt_param_info *p = &t->graph->param[i];
        size_t bytes = (size_t)t->plan.param[i].bytes;
        void *values = dpt_alloc(bytes);
        DPT_CHECK_ALLOC(values);
        dpt_status status =
            dpt_init_fill(p->name, p->init, p->tensor->dtype, p->tensor->ndim, p->tensor->dim, t->o.seed, values);
        if (status == DPT_OK)
            status = t->ctx->device.ops->copy_in(&t->ctx->device, t->arenas.param + t->plan.param[i].offset, values,
                                                 bytes, NULL);
        dpt_free(values);
        if (status != DPT_OK) return dpt_error_prefix(status, "parameter \"%s\": ", p->name);
    }
    return DPT_OK;
}

static dpt_status start_states(dpt_trainer *t) {
    for (int64_t i = 0; i < t->graph->n_state; i++) {
        const dpt_state_info *s = &t->graph->state[i];
        int64_t n = dpt_row_count(s->tensor);
        void *values = dpt_alloc_zero((size_t)n, sizeof(double));
        DPT_CHECK_ALLOC(values);
        for (int64_t k = 0; k < n; k++) {
            if (s->tensor->dtype == DPT_F64)
                ((double *)values)[k] = s->initial;
            else if (s->tensor->dtype == DPT_F32)
                ((float *)values)[k] = (float)s->initial;
            else if (s->tensor->dtype == DPT_I64)
                ((int64_t *)values)[k] = (int64_t)s->initial;
            else if (s->tensor->dtype == DPT_I32)
                ((int32_t *)values)[k] = (int32_t)s->initial;
            else
                ((uint8_t *)values)[k] = (uint8_t)s->initial;
        }
        dpt_status status = t->ctx->device.ops->copy_in(&t->ctx->device, t->arenas.state + t->plan.state[i].offset,
                                                        values, (size_t)t->plan.state[i].bytes, NULL);
        dpt_free(values);
        DPT_TRY(status);
    }
    return DPT_OK;
}

/* Libraries of mathematics differ between machines in the last bit: rank 0's values count. */
static dpt_status share_params(dpt_trainer *t) {
    if (t->ctx->control.world == 1 || t->plan.param_bytes == 0) return DPT_OK;
    const size_t piece = (size_t)1 << 30;
    for (size_t at = 0; at < (size_t)t->plan.param_bytes; at += piece) {
        size_t n = (size_t)t->plan.param_bytes - at < piece ? (size_t)t->plan.param_bytes - at : piece;
        DPT_TRY(dpt_comm_run(&t->ctx->comm, DPT_BROADCAST, t->arenas.param + at, n, DPT_U8, NULL));
    }
    return DPT_OK;
}

/* Of what is exchanged, and then how. */
static dpt_status choose_buckets(dpt_trainer *t, dpt_bucket_sizes *sizes) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < t->graph->n_param && t->graph->n_loss > 0; i++) {
        const dpt_tensor *p = t->graph->param[i].tensor;
        bytes += dpt_row_count(p) * (int64_t)dpt_dtype_size(p->dtype);
    }
    return dpt_bucket_sizes_find(t->ctx, t->o.bucket_bytes, bytes, sizes);
}

static dpt_status plan_local(dpt_trainer *t, dpt_bucket_sizes sizes) {
    DPT_TRY(check_options(&t->o));
    DPT_TRY(dpt_precision_declare(t->graph, t->o.precision));
    DPT_TRY(dpt_graph_status(t->graph));
    dpt_graph_resolve_groups(t->graph);
    for (int64_t i = 0; i < t->graph->n_state; i++) t->has_local_state |= t->graph->state[i].kind == DPT_STATE_LOCAL;
    DPT_TRY(dpt_arena_plan_make(t->graph, t->o.weight_decay, sizes.bytes, sizes.last, &t->plan));
    if (t->o.zero) DPT_TRY(dpt_arena_plan_shard(t->graph, t->ctx->control.rank, t->ctx->control.world, &t->plan));
    DPT_TRY(dpt_trainer_compile(t));
    return dpt_trainer_check_memory(t);
}

static dpt_status build_local(dpt_trainer *t) {
    DPT_TRY(dpt_trainer_take_memory(t));
    DPT_TRY(open_sessions(t));
    DPT_TRY(start_params(t));
    DPT_TRY(start_states(t));
    size_t n = (size_t)t->graph->n_loss + (size_t)t->graph->n_output + 1;
    t->mask_count = dpt_alloc_zero(n, sizeof(double));
    t->loss_sum = dpt_alloc_zero(n, sizeof(double));
    t->loss_count = dpt_alloc_zero(n, sizeof(double));
    t->mean_sum = dpt_alloc_zero(n, sizeof(double));
    return t->mask_count && t->loss_sum && t->loss_count && t->mean_sum ? DPT_OK : DPT_ERR_MEMORY;
}

uint64_t dpt_trainer_digest(const dpt_trainer *t) {
    dpt_digest d = {dpt_graph_digest(t->graph)};
    const dpt_trainer_options *o = &t->o;
    dpt_digest_i64(&d, (int64_t)dpt_arena_plan_digest(&t->plan));
    dpt_digest_i64(&d, (int64_t)o->optimizer);
    dpt_digest_i64(&d, o->nesterov);
    dpt_digest_i64(&d, o->accumulate);
    dpt_digest_i64(&d, o->zero);
    dpt_digest_i64(&d, o->update_by_bucket);
    dpt_digest_i64(&d, o->length);
    dpt_digest_i64(&d, o->precision);
    dpt_digest_i64(&d, o->recompute);
    dpt_digest_i64(&d, (int64_t)o->seed);
    const double numbers[] = {o->lr,           o->momentum,  o->beta1, o->beta2,        o->eps,
                              o->weight_decay, o->clip_norm, o->trust, o->average_decay};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) dpt_digest_f64(&d, numbers[i]);
    return d.value;
}

static dpt_status build(dpt_trainer *t) {
    dpt_digest version = {0};
    dpt_bucket_sizes sizes;
    dpt_digest_text(&version, dpt_version());
    const dpt_control *control = &t->ctx->control;
    double begin_s = dpt_clock_s();
    DPT_TRY(dpt_control_same(control, "the version of dptrain", version.value));
    DPT_TRY(choose_buckets(t, &sizes));
    DPT_TRY(dpt_control_agree(control, plan_local(t, sizes)));
    DPT_TRY(dpt_control_agree(control, build_local(t)));
    DPT_TRY(dpt_control_same(control, "the graph or the trainer's options", dpt_trainer_digest(t)));
    DPT_TRY(dpt_trainer_attach_memory(t));
    DPT_TRY(share_params(t));
    DPT_TRY(dpt_trainer_start_averages(t));
    dpt_log(DPT_LOG_DEBUG, "programs and memory ready after %.2f s", dpt_clock_s() - begin_s);
    dpt_log(DPT_LOG_DEBUG, "memory per rank: %.1f MiB: parameters %.1f, gradients %.1f, moments %.1f, activations %.1f",
            (double)t->memory.total / 1048576, (double)t->memory.parameters / 1048576,
            (double)t->memory.gradients / 1048576, (double)t->memory.moments / 1048576,
            (double)t->memory.activations / 1048576);
    return DPT_OK;
}

dpt_status dpt_trainer_create(dpt_graph *g, const dpt_trainer_options *options, dpt_trainer **trainer) {
    *trainer = NULL;
    DPT_CHECK(g != NULL && options != NULL, DPT_ERR_ARG, "graph or options are NULL");
    if (g->ctx == NULL) DPT_TRY(dpt_graph_status(g)); /* there was no memory for a graph */
    DPT_CHECK(g->ctx != NULL, DPT_ERR_ARG, "the graph has no context");
    dpt_trainer *t = dpt_alloc_zero(1, sizeof *t);
    DPT_TRY(dpt_control_agree(&g->ctx->control, t ? DPT_OK : DPT_ERR_MEMORY));
    t->graph = g;
    t->ctx = g->ctx;
    t->o = *options;
    t->lr = options->lr;
    t->last.step = -1;
    dpt_phase before = dpt_position_phase(g->ctx->position, DPT_PHASE_START);
    dpt_status status = build(t);
    dpt_position_phase(g->ctx->position, before);
    if (status != DPT_OK) dpt_trainer_destroy(&t);
    *trainer = t;
    return status;
}

void dpt_trainer_drop_programs(dpt_trainer *t) {
    dpt_compiled *list[DPT_COMPILED_MAX];
    for (dpt_compiled *const *c = dpt_trainer_compiled(t, list); *c; c++) {
        dpt_session_destroy(&(*c)->session);
        dpt_program_destroy(&(*c)->program);
    }
}

void dpt_trainer_destroy(dpt_trainer **trainer) {
    dpt_trainer *t = trainer ? *trainer : NULL;
    if (t == NULL) return;
    *trainer = NULL;
    dpt_trainer_drop_programs(t);
    dpt_trainer_release_memory(t);
    dpt_arena_plan_free(&t->plan);
    dpt_free(t->mask_count);
    dpt_free(t->loss_sum);
    dpt_free(t->loss_count);
    dpt_free(t->mean_sum);
    dpt_free(t);
}

int64_t dpt_trainer_parameters(const dpt_trainer *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->graph->n_param; i++) n += dpt_row_count(t->graph->param[i].tensor);
    return n;
}
