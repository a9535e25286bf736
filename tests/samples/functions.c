/* Samples of functions of one number, with some derivatives: see op_samples.h. */
#include "samples/samples.h"

static dpt_tensor *few(sample_build *b) { return sample_float(b, DIMS(B, 9), -3, 3); }
static dpt_tensor *few_positive(sample_build *b) { return positive(b, DIMS(B, 9)); }

#define OF(name, values) \
    static dpt_tensor *name##_(sample_build *b) { return dpt_##name(values(b)); }
OF(exp, few)
OF(ln, few_positive)
OF(sin, few)
OF(cos, few)
OF(abs, few)
OF(sigmoid, few)
OF(silu, few)
OF(softplus, few)

static dpt_tensor *square(sample_build *b) { return dpt_power(few(b), 2); }
static dpt_tensor *cube(sample_build *b) { return dpt_power(few(b), 3); }
static dpt_tensor *root_(sample_build *b) { return dpt_power(few_positive(b), 0.5); }
static dpt_tensor *reciprocal(sample_build *b) { return dpt_power(few_positive(b), -1); }
static dpt_tensor *power_(sample_build *b) { return dpt_power(few_positive(b), 1.7); }
static dpt_tensor *clamp_(sample_build *b) { return dpt_clamp(few(b), -1.0, 2.0); }
static dpt_tensor *of_order(sample_build *b, int op, int order) {
    dpt_tensor *x = few(b), *g = any(b, DIMS(B, 9));
    return dpt_apply(DPT_HERE, op, NULL, &(dpt_attr){.function = {.order = order}}, 2, (dpt_tensor *[]){x, g});
}
static dpt_tensor *sigmoid_1(sample_build *b) { return of_order(b, DPT_OP_SIGMOID, 1); }
static dpt_tensor *sigmoid_4(sample_build *b) { return of_order(b, DPT_OP_SIGMOID, 4); }
static dpt_tensor *silu_1(sample_build *b) { return of_order(b, DPT_OP_SILU, 1); }
static dpt_tensor *silu_4(sample_build *b) { return of_order(b, DPT_OP_SILU, 4); }

static const op_sample rows_of_table[] = {
    CLOSED(EXP, "exp", exp_),
    CLOSED(LN, "ln", ln_),
    CLOSED(SIN, "sin", sin_),
    CLOSED(COS, "cos", cos_),
    CLOSED(ABS, "abs", abs_),
    CLOSED(POWER, "power 2", square),
    CLOSED(POWER, "power 3", cube),
    CLOSED(POWER, "power 1/2", root_),
    CLOSED(POWER, "power -1", reciprocal),
    CLOSED(POWER, "power 1.7", power_),
    CLOSED(CLAMP, "clamp", clamp_),
    CLOSED(SIGMOID, "sigmoid", sigmoid_),
    CLOSED(SIGMOID, "sigmoid, order 1", sigmoid_1),
    CLOSED(SIGMOID, "sigmoid, order 4", sigmoid_4),
    CLOSED(SILU, "silu", silu_),
    CLOSED(SILU, "silu, order 1", silu_1),
    CLOSED(SILU, "silu, order 4", silu_4),
    CLOSED(SOFTPLUS, "softplus", softplus_),
};
SAMPLE_FAMILY(functions)
