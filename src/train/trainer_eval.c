/* trainer_eval.c: evaluation and prediction. A batch runs in parts of one micro-batch; every rank runs the same number
 * of them, so collectives inside a forward pass match. Running statistics are merged over ranks before the first batch
 * that follows a training step. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "train/trainer.h"

static dpt_status read_scalar(dpt_session *s, const char *name, double *value) {
    const dpt_operand *o = dpt_session_output(s, name);
    float single = 0;
    DPT_TRY(dpt_session_read(s, name, 0, o->dtype == DPT_F32 ? (void *)&single : value));
    if (o->dtype == DPT_F32) *value = single;
    return DPT_OK;
}

int64_t dpt_values_per_row(const dpt_trainer *t, const dpt_tensor *v) {
    int64_t n = 1;
    for (int i = dpt_has_batch(v); i < v->ndim; i++) n *= v->dim[i] == DPT_LENGTH ? t->o.length : v->dim[i];
    return n;
}

static dpt_status add_results(dpt_trainer *t, const dpt_agreement *a) {
    dpt_session *s = t->evaluate.session;
    const dpt_graph *g = t->graph;
    char name[160];
    double value;
    for (int64_t i = 0; i < g->n_loss; i++) {
        const dpt_tensor *v = g->loss[i].value;
        int axis = dpt_tensor_axis(v);
        bool scalar = axis < 0;
        snprintf(name, sizeof name, scalar ? "loss.%lld.scalar" : "loss.%lld.sum", (long long)i);
        DPT_TRY(read_scalar(s, name, &value));
        bool counts = !scalar || t->ctx->control.rank == 0; /* a scalar is the same on all ranks */
        if (!counts) continue;
        t->loss_sum[i] += value;
        value = scalar ? 1 : (double)(a->rows[axis] * dpt_values_per_row(t, v));
        snprintf(name, sizeof name, "loss.%lld.count", (long long)i);
        if (g->loss[i].mask) DPT_TRY(read_scalar(s, name, &value));
        t->loss_count[i] += value;
    }
    for (int64_t i = 0; i < g->n_output; i++) {
        snprintf(name, sizeof name, "%s.sum", g->output[i].name);
        if (dpt_session_output(s, name) == NULL) continue;
        DPT_TRY(read_scalar(s, name, &value));
        t->mean_sum[i] += value;
    }
    for (int i = 0; i < g->n_axis; i++) t->evaluated_rows[i] += a->rows[i];
    return DPT_OK;
}

static dpt_status run_part(dpt_trainer *t, dpt_session *s, const dpt_step_request *r, const int64_t *begin,
                           const dpt_agreement *part) {
    dpt_fill_block(t, part, s);
    DPT_TRY(dpt_feed(s, r->in, r->n_in, begin, part->rows));
    return dpt_session_run(s);
}

static dpt_status check_wanted(const dpt_trainer *t, const dpt_step_request *r) {
    for (int k = 0; k < r->n_wanted; k++) {
        const dpt_operand *o = dpt_session_output(t->evaluate.session, r->wanted[k].name);
        DPT_CHECK(o != NULL && o->axis == 0 && o->dtype == DPT_F32, DPT_ERR_ARG,
                  "the graph has no output \"%s\" of f32 with a number of values for each sample", r->wanted[k].name);
    }
    return DPT_OK;
}

/* The wanted outputs' rows of a part that begins at row `begin`. */
static dpt_status read_part(dpt_session *s, const dpt_step_request *r, int64_t begin, int64_t rows) {
    for (int k = 0; rows > 0 && k < r->n_wanted; k++) {
        const dpt_wanted_output *w = &r->wanted[k];
        DPT_TRY(dpt_session_read(s, w->name, rows, w->out + begin * dpt_session_output(s, w->name)->row_count));
    }
    return DPT_OK;
}

static dpt_status evaluate(dpt_trainer *t, dpt_step_request *r) {
    dpt_agreement a = {0}, part;
    int64_t begin[DPT_MAX_AXES];
    dpt_session *s = t->evaluate.session;
    if (s == NULL && r->mine == DPT_OK) r->mine = dpt_error(DPT_ERR_ARG, "the trainer was made with no_evaluation");
    if (r->mine == DPT_OK) r->mine = dpt_check_arrays(t, r->in, r->n_in, true, a.rows);
    if (r->mine == DPT_OK) r->mine = check_wanted(t, r);
    DPT_TRY(dpt_agree(t, r, false, &a));
    DPT_TRY(dpt_trainer_gather(t, dpt_trainer_kept(t)));
    DPT_TRY(dpt_trainer_merge(t));
    for (int m = 0; m < t->o.accumulate; m++) {
        dpt_micro_batch(t, &a, m, begin, &part);
        DPT_TRY(run_part(t, s, r, begin, &part));
        DPT_TRY(add_results(t, &part));
        DPT_TRY(read_part(s, r, begin[0], part.rows[0]));
    }
    return DPT_OK;
}

dpt_status dpt_trainer_evaluate_request(dpt_trainer *t, dpt_step_request *r) {
    dpt_phase before = dpt_position_phase(t->ctx->position, DPT_PHASE_EVALUATE);
    dpt_status status = evaluate(t, r);
    dpt_position_phase(t->ctx->position, before);
    return status;
}

dpt_status dpt_trainer_evaluate(dpt_trainer *t, const dpt_array *in, int n_in) {
    dpt_step_request r = {.in = in, .n_in = n_in};
    return dpt_trainer_evaluate_request(t, &r);
}

dpt_status dpt_trainer_evaluation(dpt_trainer *t, dpt_evaluation *e) {
    const dpt_control *control = &t->ctx->control;
    const dpt_graph *g = t->graph;
    DPT_TRY(dpt_control_sum_f64(control, t->loss_sum, (int)g->n_loss));
    DPT_TRY(dpt_control_sum_f64(control, t->loss_count, (int)g->n_loss));
    DPT_TRY(dpt_control_sum_f64(control, t->mean_sum, (int)g->n_output));
    DPT_TRY(dpt_control_sum_i64(control, t->evaluated_rows, g->n_axis));
    *e = (dpt_evaluation){.rows = t->evaluated_rows[0]};
    for (int64_t i = 0; i < g->n_loss; i++)
        if (t->loss_count[i] > 0) e->loss += g->loss[i].weight * t->loss_sum[i] / t->loss_count[i];
    for (int64_t i = 0; i < g->n_output && e->n_mean < DPT_MAX_MEANS; i++) {
        const dpt_tensor *o = g->output[i].tensor;
        if (o->ndim != 1 || !dpt_has_batch(o) || !dpt_is_float(o->dtype)) continue;
        int64_t rows = t->evaluated_rows[dpt_dim_axis(o->dim[0])];
        e->name[e->n_mean] = g->output[i].name;
        e->mean[e->n_mean++] = rows > 0 ? t->mean_sum[i] / (double)rows : 0;
    }
    memset(t->loss_sum, 0, (size_t)g->n_loss * sizeof(double));
    memset(t->loss_count, 0, (size_t)g->n_loss * sizeof(double));
    memset(t->mean_sum, 0, (size_t)g->n_output * sizeof(double));
    memset(t->evaluated_rows, 0, sizeof t->evaluated_rows);
    return DPT_OK;
}

/* Rows of the named output, in parts of a micro-batch. */
static dpt_status predict_parts(dpt_trainer *t, const dpt_step_request *r, const dpt_agreement *a, const char *output,
                                void *out) {
    dpt_session *s = t->predict.session;
    const dpt_operand *o = dpt_session_output(s, output);
    size_t row_bytes = (size_t)o->row_count * dpt_dtype_size(o->dtype);
    int64_t begin[DPT_MAX_AXES];
    dpt_agreement part;
    for (int m = 0; m < t->o.accumulate; m++) {
        dpt_micro_batch(t, a, m, begin, &part);
        DPT_TRY(run_part(t, s, r, begin, &part));
        int64_t rows = o->axis < 0 ? 0 : part.rows[o->axis];
        char *to = (char *)out + (o->axis < 0 ? 0 : (size_t)begin[o->axis] * row_bytes);
        if (o->axis < 0 || rows > 0) DPT_TRY(dpt_session_read(s, output, rows, to));
    }
    return DPT_OK;
}

static dpt_status check_output(const dpt_trainer *t, const dpt_agreement *a, const char *output, size_t out_bytes) {
    DPT_CHECK(t->predict.session != NULL, DPT_ERR_ARG, "prediction needs a named output (dpt_output) and evaluation");
    const dpt_operand *o = dpt_session_output(t->predict.session, output);
    DPT_CHECK(o != NULL, DPT_ERR_ARG, "the graph has no output \"%s\"", output);
    int64_t count = o->axis < 0 ? o->count : a->rows[o->axis] * o->row_count;
    size_t bytes = (size_t)count * dpt_dtype_size(o->dtype);
    DPT_CHECK(out_bytes == bytes, DPT_ERR_ARG, "output \"%s\" takes %zu bytes, %zu were given", output, bytes,
              out_bytes);
    return DPT_OK;
}

dpt_status dpt_trainer_predict(dpt_trainer *t, const dpt_array *in, int n_in, const char *output, void *out,
                               size_t out_bytes) {
    dpt_step_request r = {.in = in, .n_in = n_in};
    dpt_agreement a = {0};
    r.mine = dpt_check_arrays(t, in, n_in, false, a.rows);
    if (r.mine == DPT_OK) r.mine = check_output(t, &a, output, out_bytes);
    DPT_TRY(dpt_agree(t, &r, false, &a));
    DPT_TRY(dpt_trainer_gather(t, dpt_trainer_kept(t)));
    DPT_TRY(dpt_trainer_merge(t));
    return predict_parts(t, &r, &a, output, out);
}

/* ---- running statistics ---- */

typedef struct merge_states {
    int64_t mean, variance, weight; /* state numbers */
} merge_states;

static merge_states states_of_group(const dpt_graph *g, int group) {
    merge_states m = {-1, -1, -1};
    for (int64_t i = 0; i < g->n_state; i++) {
        if (g->state[i].merge_group != group) continue;
        if (g->state[i].merge_role == 0)
            m.mean = i;
        else if (g->state[i].merge_role == 1)
            m.variance = i;
        else
            m.weight = i;
    }
    return m;
}

/* Pools mean and variance (f32 [n]) of all ranks, weighted by how many values each has seen:
 * mean = sum w_r m_r / W, variance = sum w_r (v_r + (m_r - mean)^2) / W. sums has room for 2n + 1 numbers. */
static dpt_status pool(const dpt_control *control, double weight, float *mean, float *variance, int64_t n,
                       double *sums) {
    sums[0] = weight;
    for (int64_t i = 0; i < n; i++) sums[1 + i] = weight * (double)mean[i];
    DPT_TRY(dpt_control_sum_f64(control, sums, (int)n + 1));
    double total = sums[0];
    if (!(total > 0)) return DPT_OK;
    for (int64_t i = 0; i < n; i++) {
        double m = sums[1 + i] / total, off = (double)mean[i] - m;
        sums[1 + n + i] = weight * ((double)variance[i] + off * off);
    }
    DPT_TRY(dpt_control_sum_f64(control, sums + 1 + n, (int)n));
    for (int64_t i = 0; i < n; i++) {
        mean[i] = (float)(sums[1 + i] / total);
        variance[i] = (float)(sums[1 + n + i] / total);
    }
    return DPT_OK;
}

static dpt_status merge_group(dpt_trainer *t, int group) {
    merge_states m = states_of_group(t->graph, group);
    if (m.mean < 0 || m.variance < 0 || m.weight < 0) return DPT_OK;
    if (t->graph->state[m.mean].kind != DPT_STATE_LOCAL) return DPT_OK;
    int64_t n = dpt_row_count(t->graph->state[m.mean].tensor);
    dpt_device *d = &t->ctx->device;
    size_t bytes = (size_t)n * sizeof(float);
    double weight;
    float *values = dpt_alloc(2 * bytes);
    double *sums = dpt_alloc((size_t)(2 * n + 1) * sizeof *sums);
    dpt_status status = dpt_control_agree(&t->ctx->control, values && sums ? DPT_OK : DPT_ERR_MEMORY);
    if (status != DPT_OK) goto fail;
    DPT_TRY_GOTO(d->ops->copy_out(d, values, t->arenas.state + t->plan.state[m.mean].offset, bytes, NULL), fail);
    DPT_TRY_GOTO(d->ops->copy_out(d, values + n, t->arenas.state + t->plan.state[m.variance].offset, bytes, NULL),
                 fail);
    DPT_TRY_GOTO(d->ops->copy_out(d, &weight, t->arenas.state + t->plan.state[m.weight].offset, sizeof weight, NULL),
                 fail);
    DPT_TRY_GOTO(d->ops->stream_sync(d, NULL), fail);
    DPT_TRY_GOTO(pool(&t->ctx->control, weight, values, values + n, n, sums), fail);
    weight = sums[0];
    DPT_TRY_GOTO(d->ops->copy_in(d, t->merged_state + t->plan.state[m.weight].offset, &weight, sizeof weight, NULL),
                 fail);
    DPT_TRY_GOTO(d->ops->copy_in(d, t->merged_state + t->plan.state[m.mean].offset, values, bytes, NULL), fail);
    DPT_TRY_GOTO(d->ops->copy_in(d, t->merged_state + t->plan.state[m.variance].offset, values + n, bytes, NULL), fail);
    DPT_TRY_GOTO(d->ops->stream_sync(d, NULL), fail);
fail:
    dpt_free(values);
    dpt_free(sums);
    return status;
}

dpt_status dpt_trainer_merge(dpt_trainer *t) {
    if (t->merged || !t->has_local_state) return DPT_OK;
    dpt_device *d = &t->ctx->device;
    DPT_TRY(d->ops->copy(d, t->merged_state, t->arenas.state, (size_t)t->plan.state_bytes, NULL));
    for (int group = 0; group < (int)t->graph->n_merge_group; group++) DPT_TRY(merge_group(t, group));
    t->merged = true;
    return DPT_OK;
}
