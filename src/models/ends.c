/* ends.c: input, target, loss and outputs, alike for all models. */
#include "models/ends.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "data/loader.h"
#include "dptrain/ops.h"
#include "graph/graph.h"
#include "ops/internal.h"

dpt_status dpt_model_check(const char *model, const dpt_model_options *o) {
    DPT_CHECK(o->in_ndim >= 1 && o->in_ndim < DPT_MAX_NDIM, DPT_ERR_CONFIG, "model %s: samples of %d dimensions", model,
              o->in_ndim);
    for (int i = 0; i < o->in_ndim; i++)
        DPT_CHECK(o->in_dim[i] > 0, DPT_ERR_CONFIG, "model %s: dimension %d of a sample is %lld", model, i,
                  (long long)o->in_dim[i]);
    DPT_CHECK(o->classes > 0, DPT_ERR_CONFIG, "model %s: %lld classes", model, (long long)o->classes);
    DPT_CHECK(o->dropout >= 0 && o->dropout < 1, DPT_ERR_CONFIG, "model %s: dropout %g is not in [0, 1)", model,
              o->dropout);
    bool floats = o->target_dtype == DPT_F32 || o->target_dtype == DPT_F64;
    if (o->loss != DPT_MODEL_CROSS_ENTROPY)
        DPT_CHECK(o->target_dtype == DPT_F32, DPT_ERR_CONFIG,
                  "model %s: targets of every loss but cross-entropy are f32, not %s", model,
                  dpt_dtype_text(o->target_dtype));
    else
        DPT_CHECK(!floats, DPT_ERR_CONFIG, "model %s: targets of a cross-entropy are u8, i32 or i64, not %s", model,
                  dpt_dtype_text(o->target_dtype));
    return DPT_OK;
}

/* "100 x 75" */
static const char *sizes_text(const int64_t *size, int n, char *text, size_t bytes) {
    size_t length = 0;
    for (int i = 0; i < n; i++) length = dpt_append(text, bytes, length, "%s%lld", i ? " x " : "", (long long)size[i]);
    return text;
}

dpt_status dpt_model_check_halving(const char *model, const dpt_model_options *o) {
    static const char *const sides[] = {"length", "height and width", "depth, height and width"};
    int64_t multiple = (int64_t)1 << o->depth, padded[DPT_MAX_NDIM];
    int n = o->in_ndim - 1;
    bool fits = true;
    char has[96], wanted[96];
    for (int i = 0; i < n; i++) {
        padded[i] = (o->in_dim[i + 1] + multiple - 1) / multiple * multiple;
        fits &= padded[i] == o->in_dim[i + 1];
    }
    DPT_CHECK(fits, DPT_ERR_CONFIG, "model %s: samples are %s: %s must be %s of %lld: pad to %s", model,
              sizes_text(o->in_dim + 1, n, has, sizeof has), sides[n - 1], n > 1 ? "multiples" : "a multiple",
              (long long)multiple, sizes_text(padded, n, wanted, sizeof wanted));
    return DPT_OK;
}

dpt_tensor *dpt_model_input_made(dpt_graph *g, const dpt_model_input_of *input) {
    int64_t dim[DPT_MAX_NDIM] = {DPT_BATCH};
    for (int i = 0; i < input->ndim; i++) dim[i + 1] = input->dim[i];
    return dpt_input(g, input->name ? input->name : "x", input->dtype, input->ndim + 1, dim);
}

dpt_tensor *dpt_model_input(dpt_graph *g, const dpt_model_options *o) {
    dpt_model_input_of input = {.name = o->input, .dtype = DPT_F32, .ndim = o->in_ndim};
    memcpy(input.dim, o->in_dim, sizeof input.dim);
    return dpt_model_input_made(g, &input);
}

static const char *target_name(const dpt_model_options *o) { return o->target ? o->target : "y"; }

/* Output `what`, of several targets "<target>.<what>". */
static void add_output(dpt_graph *g, const dpt_model_options *o, const char *what, dpt_tensor *value) {
    char name[128];
    snprintf(name, sizeof name, "%s%s%s", o->several ? target_name(o) : "", o->several ? "." : "", what);
    dpt_output(g, name, value);
}

static double weight_of(const dpt_model_options *o) { return o->weight > 0 ? o->weight : 1.0; }

/* The target's input: of the value's shape, without its classes where it classifies. */
static dpt_status make_target(dpt_graph *g, const dpt_model_options *o, dpt_tensor *value, dpt_tensor **target) {
    int64_t dim[DPT_MAX_NDIM], elements = 1;
    int ndim = dpt_tensor_dims(value, dim);
    DPT_CHECK(ndim >= 2 && dim[1] == o->classes, DPT_ERR_SHAPE,
              "the model's output is %s: wanted [B,%lld], or as many channels", dpt_shape_text(value),
              (long long)o->classes);
    if (o->loss == DPT_MODEL_CROSS_ENTROPY) {
        ndim--;
        memmove(dim + 1, dim + 2, (size_t)(ndim - 1) * sizeof *dim);
    }
    for (int i = 1; i < ndim; i++) elements *= dim[i];
    DPT_CHECK(o->target_elements == 0 || o->target_elements == elements, DPT_ERR_CONFIG,
              "a sample's target has %lld values, but the model's output %s wants %lld", (long long)o->target_elements,
              dpt_shape_text(value), (long long)elements);
    *target = dpt_input(g, target_name(o), o->target_dtype, ndim, dim);
    return DPT_OK;
}

/* lambda l(y) + (1 - lambda) l(y of the partner), lambda [B]. */
static dpt_tensor *mixed_cross_entropy(dpt_graph *g, const dpt_model_options *o, dpt_tensor *value,
                                       dpt_tensor *target) {
    const double smoothing = o->of_loss.smoothing;
    int64_t dim[DPT_MAX_NDIM];
    int ndim = dpt_tensor_dims(target, dim);
    char name[128];
    snprintf(name, sizeof name, "%s" DPT_PARTNER_SUFFIX, target_name(o));
    dpt_tensor *partner = dpt_input(g, name, target->dtype, ndim, dim);
    dpt_tensor *lambda = dpt_input(g, DPT_LAMBDA_NAME, DPT_F32, 1, dim);
    for (int i = 1; i < ndim; i++) dim[i] = 1;
    dpt_tensor *own = dpt_smooth_cross_entropy_at(DPT_HERE, value, target, smoothing);
    dpt_tensor *other = dpt_smooth_cross_entropy_at(DPT_HERE, value, partner, smoothing);
    return dpt_add(other, dpt_mul(dpt_reshape(lambda, ndim, dim), dpt_sub(own, other)));
}

static dpt_status classify(dpt_graph *g, const dpt_model_options *o, dpt_tensor *value, dpt_tensor *target) {
    const dpt_model_loss_options *l = &o->of_loss;
    add_output(g, o, "logits", value);
    if (value->ndim == 2) add_output(g, o, "accuracy", dpt_accuracy(value, target));
    if (o->mixup) {
        DPT_CHECK(!l->class_weights && !l->ignores, DPT_ERR_CONFIG,
                  "mixup mixes losses of two targets: without loss.class_weights and loss.ignore");
        dpt_loss_add(g, mixed_cross_entropy(g, o, value, target), weight_of(o), NULL);
        return DPT_OK;
    }
    dpt_cross_entropy_options options = {
        .smoothing = l->smoothing, .weight = l->class_weights, .ignores = l->ignores, .ignore = l->ignore};
    dpt_cross_entropy_loss(g, value, target, weight_of(o), options);
    return DPT_OK;
}

/* One loss a sample; what is meant to be a probability is one in the output. */
static void regress(dpt_graph *g, const dpt_model_options *o, dpt_tensor *value, dpt_tensor *target) {
    dpt_tensor *loss, *y = value;
    bool logits = o->loss == DPT_MODEL_BCE || o->loss == DPT_MODEL_DICE;
    if (logits) y = dpt_sigmoid(value);
    switch (o->loss) {
        case DPT_MODEL_L1: loss = dpt_l1(y, target); break;
        case DPT_MODEL_HUBER: loss = dpt_huber(y, target, o->of_loss.delta); break;
        case DPT_MODEL_BCE: loss = dpt_bce(value, target); break;
        case DPT_MODEL_DICE: loss = dpt_dice(y, target, 1); break;
        default: loss = dpt_mse(y, target); break;
    }
    add_output(g, o, "y", y);
    dpt_loss_add(g, loss, weight_of(o), NULL);
}

dpt_status dpt_model_finish(dpt_graph *g, const dpt_model_options *o, dpt_tensor *value) {
    DPT_TRY(dpt_graph_status(g));
    dpt_tensor *target = NULL;
    DPT_TRY(make_target(g, o, value, &target));
    if (o->loss == DPT_MODEL_CROSS_ENTROPY)
        DPT_TRY(classify(g, o, value, target));
    else
        regress(g, o, value, target);
    return dpt_graph_status(g);
}

bool dpt_model_has_norm(const dpt_model_options *o) {
    return o->norm != DPT_MODEL_NORM_OF_BATCH || o->batch_norm != DPT_MODEL_NORM_NONE;
}

dpt_tensor *dpt_model_normalise(const dpt_model_options *o, dpt_tensor *x, const char *name) {
    if (!dpt_model_has_norm(o)) return x;
    if (o->norm == DPT_MODEL_NORM_OF_LAYER) return dpt_group_norm(x, 1, 0, name);
    if (o->norm == DPT_MODEL_NORM_OF_GROUP) {
        int64_t groups = DPT_MODEL_NORM_GROUPS;
        while (x->dim[1] % groups != 0) groups /= 2;
        return dpt_group_norm(x, groups, 0, name);
    }
    return dpt_batch_norm(x, ((dpt_batch_norm_options){.sync = o->batch_norm == DPT_MODEL_NORM_SYNC}), name);
}

dpt_tensor *dpt_model_norm_layer(const dpt_model_options *o, dpt_tensor *x, int number) {
    char name[32];
    snprintf(name, sizeof name, "bn%d", number);
    return dpt_model_normalise(o, x, name);
}

dpt_tensor *dpt_model_activate(dpt_tensor *x, dpt_model_activation activation) {
    switch (activation) {
        case DPT_MODEL_RELU: return dpt_relu(x);
        case DPT_MODEL_GELU: return dpt_gelu(x);
        case DPT_MODEL_TANH: return dpt_tanh(x);
        case DPT_MODEL_SIGMOID: return dpt_sigmoid(x);
        case DPT_MODEL_SILU: return dpt_silu(x);
        case DPT_MODEL_SOFTPLUS: return dpt_softplus(x);
    }
    return x;
}
