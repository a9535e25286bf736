/* activation_formula.h: the activations that products are fused with and their derivatives, in f64, as formulas. */
#ifndef DPT_TESTS_ACTIVATION_FORMULA_H
#define DPT_TESTS_ACTIVATION_FORMULA_H

#include <math.h>

#include "backend/kernel.h"

static inline double activation_formula(dpt_activation act, double x) {
    switch (act) {
        case DPT_ACT_RELU: return x > 0 ? x : 0;
        case DPT_ACT_TANH: return tanh(x);
        case DPT_ACT_GELU: return 0.5 * x * erfc(-x * sqrt(0.5));
        default: return x;
    }
}

/* The derivative, from the output for relu and tanh, from the argument for gelu. */
static inline double activation_slope(dpt_activation act, double y) {
    switch (act) {
        case DPT_ACT_RELU: return y > 0 ? 1 : 0;
        case DPT_ACT_TANH: return 1 - y * y;
        case DPT_ACT_GELU: return 0.5 * erfc(-y * sqrt(0.5)) + y * exp(-0.5 * y * y) * 0.39894228040143268;
        default: return 1;
    }
}

#endif
