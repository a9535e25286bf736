/* op_samples.c: see op_samples.h. The table has at least one row for every op that computes; op_covers says for the
 * others which test has them, and does not compile until a new op has its line. */
#include "op_samples.h"

#include <stdio.h>

#include "base/random.h"

/* ---- inputs ---- */

static sample_input *declare(sample_build *b, dpt_dtype dtype, int ndim, const int64_t *dim) {
    sample_input *in = &b->input[b->n_input];
    snprintf(in->name, sizeof in->name, "x%d", b->n_input++);
    in->tensor = dpt_input(b->g, in->name, dtype, ndim, dim);
    in->dtype = dtype;
    in->count = 1;
    for (int i = 0; i < ndim; i++) in->count *= dim[i] == DPT_BATCH ? SAMPLE_ROWS : dim[i];
    return in;
}

static int64_t word(const sample_input *in, int64_t i) {
    return dpt_philox(dpt_random_key(in->name, 7), (uint32_t)i, 0, 0, 0).v[0];
}

dpt_tensor *sample_float(sample_build *b, int ndim, const int64_t *dim, double lo, double hi) {
    sample_input *in = declare(b, b->dtype, ndim, dim);
    for (int64_t i = 0; i < in->count && i < SAMPLE_VALUES; i++) {
        /* f32 values, so that both types compute on the same numbers */
        const float v = (float)(lo + (hi - lo) * dpt_uniform_open_f64((uint32_t)word(in, i)));
        in->value[i] = (double)(v + (v < 0 ? -0.05F : 0.05F));
    }
    return in->tensor;
}

dpt_tensor *sample_integer(sample_build *b, dpt_dtype dtype, int ndim, const int64_t *dim, int64_t classes) {
    sample_input *in = declare(b, dtype, ndim, dim);
    for (int64_t i = 0; i < in->count && i < SAMPLE_VALUES; i++) in->value[i] = (double)(word(in, i) % classes);
    return in->tensor;
}

/* ---- families, a file each ---- */

#define FAMILY_LIST(X) \
    X(arrange) X(choice) X(conv) X(functions) X(loss) X(math) X(norm) X(pool) X(products) X(spectral)
#define DECLARE(name) extern const op_samples op_samples_of_##name;
#define ADDRESS(name) &op_samples_of_##name,
FAMILY_LIST(DECLARE)
static const op_samples *const families[] = {FAMILY_LIST(ADDRESS)};
enum { FAMILIES = sizeof families / sizeof *families };

const op_sample *op_sample_at(int i) {
    for (int f = 0; f < FAMILIES; i -= families[f++]->count)
        if (i < families[f]->count) return &families[f]->row[i];
    return NULL;
}

/* ---- coverage ---- */

#define BY_SAMPLES(ID) \
    { DPT_OP_##ID, NULL }
#define BY(ID, test) \
    { DPT_OP_##ID, test }

static const op_cover covers[] = {
    BY(INPUT, "all samples"),
    BY(PARAM, "test_golden"),
    BY(CONSTANT, "all samples: where a gradient starts"),
    BY(STATE, "test_norm"),
    BY_SAMPLES(ADD),
    BY_SAMPLES(SUB),
    BY_SAMPLES(MUL),
    BY_SAMPLES(DIV),
    BY_SAMPLES(SCALE),
    BY_SAMPLES(OFFSET),
    BY_SAMPLES(SQRT),
    BY_SAMPLES(CAST),
    BY_SAMPLES(RELU),
    BY_SAMPLES(RELU_GRAD),
    BY_SAMPLES(TANH),
    BY_SAMPLES(GELU),
    BY_SAMPLES(EXP),
    BY_SAMPLES(LN),
    BY_SAMPLES(SIN),
    BY_SAMPLES(COS),
    BY_SAMPLES(ABS),
    BY_SAMPLES(POWER),
    BY_SAMPLES(CLAMP),
    BY_SAMPLES(SIGMOID),
    BY_SAMPLES(SILU),
    BY_SAMPLES(SOFTPLUS),
    BY_SAMPLES(GREATER),
    BY_SAMPLES(EQUAL),
    BY_SAMPLES(WHERE),
    BY_SAMPLES(TRANSPOSE),
    BY_SAMPLES(CONCAT),
    BY_SAMPLES(SLICE),
    BY_SAMPLES(PAD),
    BY_SAMPLES(SUM),
    BY_SAMPLES(BROADCAST),
    BY_SAMPLES(ROWS),
    BY_SAMPLES(RESHAPE),
    BY_SAMPLES(COPY),
    BY_SAMPLES(GATHER),
    BY_SAMPLES(SCATTER_ADD),
    BY_SAMPLES(REORDER),
    BY_SAMPLES(MATMUL),
    BY_SAMPLES(LINEAR),
    BY_SAMPLES(LINEAR_DGRAD),
    BY_SAMPLES(LINEAR_WGRAD),
    BY_SAMPLES(CONV),
    BY_SAMPLES(CONV_DGRAD),
    BY_SAMPLES(CONV_WGRAD),
    BY_SAMPLES(MAX_POOL),
    BY_SAMPLES(POOL_SCATTER),
    BY_SAMPLES(POOL_GATHER),
    BY_SAMPLES(AVG_POOL),
    BY_SAMPLES(RESAMPLE),
    BY_SAMPLES(RFFT),
    BY_SAMPLES(IRFFT),
    BY_SAMPLES(MIX),
    BY_SAMPLES(MIX_DGRAD),
    BY_SAMPLES(MIX_WGRAD),
    BY(BN_MOMENTS, "test_norm, test_golden"),
    BY(BN_APPLY, "test_norm, test_golden"),
    BY(BN_GRAD_SUMS, "test_norm, test_golden"),
    BY(BN_MASK_SUMS, "test_norm_fused, test_program"),
    BY(BN_GRAD_APPLY, "test_norm, test_golden"),
    BY(BN_PARAM_GRAD, "test_norm, test_golden"),
    BY(BN_RUNNING, "test_norm, test_golden"),
    BY(BN_INFER, "test_norm, test_golden"),
    BY(BN_TRAIN, "test_norm_golden"),
    BY_SAMPLES(ROW_NORM),
    BY_SAMPLES(ROW_NORM_GRAD),
    BY_SAMPLES(ROW_NORM_PARAMS),
    BY(DROPOUT, "test_op_kernels"),
    BY_SAMPLES(SOFTMAX),
    BY_SAMPLES(LOG_SOFTMAX),
    BY_SAMPLES(ONE_HOT),
    BY_SAMPLES(CROSS_ENTROPY),
    BY_SAMPLES(CROSS_ENTROPY_GRAD),
    BY_SAMPLES(TARGET_WEIGHT),
    BY_SAMPLES(ACCURACY),
    BY_SAMPLES(TOP_K),
    BY_SAMPLES(MSE),
    BY_SAMPLES(L1),
    BY_SAMPLES(HUBER),
    BY_SAMPLES(BCE),
    BY_SAMPLES(LOSS_SLOPE),
    BY_SAMPLES(LOSS_SCALE),
    BY(GRAD_STORE, "test_update"),
    BY(GRAD_READ, "test_golden"),
    BY(SQUARE_NORM, "test_update"),
    BY(GUARD, "test_update"),
    BY(SGD, "test_update, test_golden"),
    BY(ADAMW, "test_update, test_golden"),
    BY(TRUST_NORMS, "test_optimizers"),
    BY(TRUST_STEP, "test_optimizers"),
    BY(AVERAGE, "test_optimizers"),
    BY(ASSIGN, "test_update"),
    BY(STATE_RESTORE, "test_update"),
    BY(SCALE_UPDATE, "test_precision"),
    BY(ALL_REDUCE, "test_program"),
    BY(ALL_REDUCE_GRAD, "test_program"),
    BY(ROOT_ONLY, "test_program"),
    BY(SUM_START, "test_program"),
    BY(SUM_WAIT, "test_program"),
    BY(BUCKET_START, "test_program"),
    BY(BUCKET_WAIT, "test_program"),
    BY(SCATTER_START, "test_zero"),
    BY(SCATTER_WAIT, "test_zero"),
    BY(GATHER_START, "test_zero"),
    BY(GATHER_WAIT, "test_zero"),
};
_Static_assert(sizeof covers / sizeof *covers == DPT_OP_COUNT, "an op has no line in covers, and so no test");
const op_cover *const op_covers = covers;
