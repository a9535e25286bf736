/* trainer_step.c: one step. First a small exchange: rows, failures and wishes to stop of all ranks; a failure ends the
 * step everywhere before any other collective. Then the program; with micro-batches: counts of masked losses, forward
 * and backward of each, and the exchange and update once. */
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "ops/op_list.h"
#include "program/array_convert.h"
#include "train/trainer.h"

static int64_t most_rows(const dpt_trainer *t, int axis) {
    return axis == 0 || t->o.max_rows_of[axis] == 0 ? t->o.max_rows : t->o.max_rows_of[axis];
}

/* Everything that feeding the array could fail at: afterwards other ranks would wait. */
static dpt_status check_values(const dpt_trainer *t, const dpt_tensor *input, const dpt_array *a) {
    int axis = dpt_tensor_axis(input);
    int64_t rows = axis < 0 ? 1 : a->rows;
    if (rows <= 0 || (axis >= 0 && rows > most_rows(t, axis))) return DPT_OK; /* check_rows */
    DPT_CHECK(a->data != NULL, DPT_ERR_ARG, "input \"%s\": data is NULL", a->name);
    int64_t count = a->place == DPT_HOST ? rows * dpt_values_per_row(t, input) : 0;
    dpt_status status = dpt_array_check(a->data, a->dtype, input->dtype, count);
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "input \"%s\": ", a->name);
}

dpt_status dpt_check_arrays(const dpt_trainer *tr, const dpt_array *in, int n_in, bool needed,
                            int64_t rows[DPT_MAX_AXES]) {
    const dpt_graph *g = tr->graph;
    const dpt_tensor *source[DPT_MAX_AXES] = {0};
    for (int64_t i = 0; i < g->n_input; i++) {
        const dpt_tensor *t = g->input[i];
        int axis = dpt_tensor_axis(t), found = -1;
        for (int k = 0; k < n_in; k++)
            if (strcmp(in[k].name, t->node->name) == 0) found = k;
        DPT_CHECK(found >= 0 || !needed, DPT_ERR_ARG, "no array for input \"%s\" %s", t->node->name, dpt_shape_text(t));
        if (found < 0) continue;
        DPT_TRY(check_values(tr, t, &in[found]));
        if (axis < 0) continue;
        DPT_CHECK(source[axis] == NULL || rows[axis] == in[found].rows, DPT_ERR_ARG,
                  "input \"%s\" has %lld rows, input \"%s\" of the same batch axis %lld", t->node->name,
                  (long long)in[found].rows, source[axis] ? source[axis]->node->name : "", (long long)rows[axis]);
        rows[axis] = in[found].rows;
        source[axis] = t;
    }
    for (int k = 0; k < n_in; k++) {
        bool known = false;
        for (int64_t i = 0; i < g->n_input; i++) known |= strcmp(in[k].name, g->input[i]->node->name) == 0;
        DPT_CHECK(known, DPT_ERR_ARG, "the graph has no input \"%s\"", in[k].name);
    }
    return DPT_OK;
}

dpt_status dpt_feed(dpt_session *s, const dpt_array *in, int n_in, const int64_t *first, const int64_t *count) {
    for (int k = 0; k < n_in; k++) {
        int input = dpt_session_find_input(s, in[k].name);
        if (input < 0) continue;
        int axis;
        int64_t row_count;
        dpt_session_input_shape(s, input, &axis, &row_count);
        dpt_array part = in[k];
        if (axis >= 0) {
            part.data = (const char *)in[k].data + (size_t)(first[axis] * row_count) * dpt_dtype_size(in[k].dtype);
            part.rows = count[axis];
        }
        DPT_TRY(dpt_session_set_input(s, input, &part));
    }
    return DPT_OK;
}

static dpt_status check_rows(const dpt_trainer *t, const int64_t *rows) {
    for (int i = 0; i < t->graph->n_axis; i++) {
        int64_t most = most_rows(t, i);
        DPT_CHECK(rows[i] >= 0 && rows[i] <= most, DPT_ERR_ARG, "batch axis \"%s\": %lld rows, at most %lld (max_rows)",
                  t->graph->axis_name[i], (long long)rows[i], (long long)most);
    }
    return DPT_OK;
}

dpt_status dpt_agree(dpt_trainer *t, dpt_step_request *r, bool draws, dpt_agreement *a) {
    const dpt_control *control = &t->ctx->control;
    int n = t->graph->n_axis;
    if (r->mine == DPT_OK) r->mine = check_rows(t, a->rows);
    int64_t sums[DPT_MAX_AXES + 2];
    for (int i = 0; i < n; i++) sums[i] = r->mine == DPT_OK ? a->rows[i] : 0;
    sums[n] = r->mine != DPT_OK;
    sums[n + 1] = r->stop;
    DPT_TRY(dpt_control_sum_i64(control, sums, n + 2));
    if (sums[n] > 0) return dpt_control_agree(control, r->mine);
    a->stop = r->stop = sums[n + 1] > 0;
    memcpy(a->global_rows, sums, (size_t)n * sizeof *sums);
    if (r->first_row)
        memcpy(a->first_row, r->first_row, (size_t)n * sizeof *sums);
    else if (draws)
        return dpt_control_prefix_i64(control, a->rows, a->first_row, n);
    return DPT_OK;
}

void dpt_fill_block(const dpt_trainer *t, const dpt_agreement *a, dpt_session *s) {
    dpt_block *b = dpt_session_block(s);
    b->step = t->step;
    b->lr = t->lr;
    memcpy(b->rows, a->rows, sizeof b->rows);
    memcpy(b->first_row, a->first_row, sizeof b->first_row);
    memcpy(b->global_rows, a->global_rows, sizeof b->global_rows);
}

void dpt_micro_batch(const dpt_trainer *t, const dpt_agreement *a, int m, int64_t *begin, dpt_agreement *part) {
    *part = *a;
    for (int i = 0; i < DPT_MAX_AXES; i++) {
        begin[i] = a->rows[i] * m / t->o.accumulate;
        part->rows[i] = a->rows[i] * (m + 1) / t->o.accumulate - begin[i];
        part->first_row[i] += begin[i];
    }
}

static dpt_status read_loss(dpt_session *s, double *loss) {
    const dpt_operand *o = dpt_session_output(s, "loss");
    float single = 0;
    DPT_TRY(dpt_session_read(s, "loss", 0, o->dtype == DPT_F32 ? (void *)&single : loss));
    if (o->dtype == DPT_F32) *loss = single;
    return DPT_OK;
}

/* Steps whose metrics may be under way when a step returns. Always as many, so that all ranks see the same. */
static int64_t most_pending(const dpt_trainer *t) { return t->ctx->device.host_memory ? 0 : DPT_STAGING_SLOTS - 1; }

/* Sends the guard on its way: {factor, ok, norm, loss}. */
static dpt_status post_metrics(dpt_trainer *t, dpt_session *s, const dpt_agreement *a) {
    const dpt_operand *guard = dpt_session_output(s, "guard");
    t->pending[t->posted++ % DPT_STAGING_SLOTS] =
        (dpt_metrics){.step = t->step, .rows = a->global_rows[0], .lr = t->lr};
    return dpt_outbox_post(t->outbox, guard->data, (size_t)guard->count * sizeof(double));
}

dpt_status dpt_trainer_take_metrics(dpt_trainer *t, dpt_metrics *metrics, bool *any) {
    *any = t->collected < t->posted;
    if (!*any) return DPT_OK;
    const void *guard;
    DPT_TRY(dpt_outbox_collect(t->outbox, &guard));
    const double *value = guard;
    t->last = t->pending[t->collected++ % DPT_STAGING_SLOTS];
    t->last.loss = value[3];
    t->last.grad_norm = value[2];
    t->last.skipped = value[1] == 0;
    if (metrics) *metrics = t->last;
    return DPT_OK;
}

static bool reads_parameters(const dpt_program *p) {
    for (int64_t i = 0; i < p->graph->n_node; i++)
        for (int k = 0; k < p->graph->node[i]->n_in; k++)
            if (p->graph->node[i]->in[k]->node->op == DPT_OP_PARAM) return true;
    return false;
}

/* Counts of masked losses over all micro-batches and ranks. */
static dpt_status count_masks(dpt_trainer *t, const dpt_step_request *r, const dpt_agreement *a) {
    int64_t begin[DPT_MAX_AXES];
    dpt_agreement part;
    memset(t->mask_count, 0, (size_t)t->graph->n_loss * sizeof *t->mask_count);
    if (reads_parameters(t->count.program)) DPT_TRY(dpt_trainer_gather(t, DPT_PARAMETER));
    for (int m = 0; m < t->o.accumulate; m++) {
        dpt_micro_batch(t, a, m, begin, &part);
        dpt_fill_block(t, &part, t->count.session);
        DPT_TRY(dpt_feed(t->count.session, r->in, r->n_in, begin, part.rows));
        DPT_TRY(dpt_session_run(t->count.session));
        for (int64_t i = 0; i < t->graph->n_loss; i++) {
            char name[64];
            double n;
            dpt_append(name, sizeof name, 0, "loss.%lld.count", (long long)i);
            if (t->graph->loss[i].mask == NULL) continue;
            DPT_TRY(dpt_session_read(t->count.session, name, 0, &n));
            t->mask_count[i] += n;
        }
    }
    return dpt_control_sum_f64(&t->ctx->control, t->mask_count, (int)t->graph->n_loss);
}

static dpt_status feed_counts(const dpt_trainer *t, dpt_session *s) {
    for (int64_t i = 0; i < t->graph->n_loss; i++) {
        char name[64];
        dpt_append(name, sizeof name, 0, "loss.%lld.count", (long long)i);
        int input = dpt_session_find_input(s, name);
        dpt_array one = {name, &t->mask_count[i], DPT_F64, DPT_HOST, 1, NULL};
        if (input >= 0) DPT_TRY(dpt_session_set_input(s, input, &one));
    }
    return DPT_OK;
}

/* Micro-batches move state as they go, before anyone knows whether the step counts: the last program takes it back
 * where it does not (state_restore). */
static dpt_status run_accumulated(dpt_trainer *t, const dpt_step_request *r, const dpt_agreement *a) {
    int64_t begin[DPT_MAX_AXES];
    dpt_agreement part;
    dpt_device *d = &t->ctx->device;
    if (t->count.session) DPT_TRY(count_masks(t, r, a));
    if (t->arenas.saved_state)
        DPT_TRY(d->ops->copy(d, t->arenas.saved_state, t->arenas.state, (size_t)t->plan.state_bytes, t->stream));
    DPT_TRY(d->ops->zero(d, t->arenas.grad, (size_t)t->plan.grad_bytes, t->stream));
    for (int m = 0; m < t->o.accumulate; m++) {
        dpt_session *s = m == 0 && t->cut_params ? t->first.session : t->accumulate.session;
        dpt_micro_batch(t, a, m, begin, &part);
        dpt_fill_block(t, &part, s);
        dpt_session_block(s)->micro_batch = m;
        if (t->count.session) DPT_TRY(feed_counts(t, s));
        DPT_TRY(dpt_feed(s, r->in, r->n_in, begin, part.rows));
        DPT_TRY(dpt_session_run(s));
    }
    dpt_fill_block(t, a, t->apply.session);
    return dpt_session_run(t->apply.session);
}

static dpt_status run_whole(dpt_trainer *t, dpt_session *s, const dpt_step_request *r, const dpt_agreement *a) {
    static const int64_t zero[DPT_MAX_AXES];
    dpt_fill_block(t, a, s);
    DPT_TRY(dpt_feed(s, r->in, r->n_in, zero, a->rows));
    return dpt_session_run(s);
}

static bool draws(const dpt_trainer *t) {
    return (t->train.program && t->train.program->draws) || (t->accumulate.program && t->accumulate.program->draws);
}

static dpt_status run_step(dpt_trainer *t, dpt_step_request *r, dpt_metrics *metrics) {
    dpt_agreement a = {0};
    bool any;
    if (metrics) metrics->step = -1;
    if (r->mine == DPT_OK && t->graph->n_loss == 0) r->mine = dpt_error(DPT_ERR_ARG, "the graph has no loss");
    if (r->mine == DPT_OK) r->mine = dpt_check_arrays(t, r->in, r->n_in, true, a.rows);
    DPT_TRY(dpt_agree(t, r, draws(t), &a));
    dpt_status status = t->train.session ? run_whole(t, t->train.session, r, &a) : run_accumulated(t, r, &a);
    t->merged = false; /* after a failure, too: on all ranks alike, as gathers depend on it */
    t->cut_params = t->cut_grads = t->cut_averages = t->plan.sharded;
    DPT_TRY(status);
    DPT_TRY(post_metrics(t, t->train.session ? t->train.session : t->apply.session, &a));
    t->step++;
    return t->posted - t->collected > most_pending(t) ? dpt_trainer_take_metrics(t, metrics, &any) : DPT_OK;
}

dpt_status dpt_trainer_step_request(dpt_trainer *t, dpt_step_request *r, dpt_metrics *metrics) {
    dpt_position *position = t->ctx->position;
    dpt_phase before = dpt_position_phase(position, DPT_PHASE_STEP);
    dpt_position_step(position, t->step);
    dpt_comm_begin_step(&t->ctx->comm, t->step);
    dpt_status status = run_step(t, r, metrics);
    dpt_position_phase(position, before);
    return status;
}

dpt_status dpt_trainer_step(dpt_trainer *t, const dpt_array *in, int n_in, dpt_metrics *metrics) {
    dpt_step_request r = {.in = in, .n_in = n_in};
    return dpt_trainer_step_request(t, &r, metrics);
}

dpt_status dpt_trainer_gradient(dpt_trainer *t, const dpt_array *in, int n_in, dpt_metrics *metrics) {
    dpt_step_request r = {.in = in, .n_in = n_in};
    dpt_agreement a = {0};
    if (t->gradient.session == NULL)
        r.mine = dpt_error(DPT_ERR_UNSUPPORTED, "dpt_trainer_gradient needs a loss and accumulate = 1");
    if (r.mine == DPT_OK) r.mine = dpt_check_arrays(t, in, n_in, true, a.rows);
    DPT_TRY(dpt_agree(t, &r, draws(t), &a));
    dpt_comm_begin_step(&t->ctx->comm, t->step);
    DPT_TRY(dpt_trainer_gather(t, DPT_PARAMETER));
    DPT_TRY(run_whole(t, t->gradient.session, &r, &a));
    t->cut_grads = false;
    if (metrics == NULL) return DPT_OK;
    *metrics = (dpt_metrics){.step = t->step, .rows = a.global_rows[0], .lr = t->lr};
    return read_loss(t->gradient.session, &metrics->loss);
}

dpt_status dpt_trainer_sync(dpt_trainer *t, dpt_metrics *metrics) {
    DPT_TRY(t->ctx->device.ops->stream_sync(&t->ctx->device, NULL));
    for (bool any = true; any;) DPT_TRY(dpt_trainer_take_metrics(t, NULL, &any));
    if (metrics) *metrics = t->last;
    return DPT_OK;
}

void dpt_trainer_set_lr(dpt_trainer *t, double lr) { t->lr = lr; }
