/* fourier.c: Fourier features (Tancik et al. 2020), for functions of few coordinates with fine detail: the input v goes
 * as [cos(2 pi P v), sin(2 pi P v)] to fully connected layers of the widths o->hidden. P [o->width, inputs] is fixed,
 * drawn from a normal distribution of standard deviation o->sigma by its name alone; it is no parameter. */
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "dptrain/ops.h"
#include "graph/init.h"
#include "models/ends.h"

/* sin(w v + b) with 2 pi P twice in w and pi/2, then 0 in b: the cosine is a sine that begins earlier. */
static dpt_status features(dpt_graph *g, const dpt_model_options *o, dpt_tensor *x, int64_t inputs, dpt_tensor **y) {
    const double pi = 3.14159265358979323846;
    const dpt_init init = {DPT_INIT_NORMAL, 0, o->sigma};
    int64_t half[] = {o->width, inputs}, both[] = {2 * o->width, inputs}, n = o->width * inputs;
    float *w = dpt_alloc_zero(2 * (size_t)n, sizeof *w), *b = dpt_alloc_zero(2 * (size_t)o->width, sizeof *b);
    dpt_status status = w && b ? dpt_init_fill("fourier.projection", init, DPT_F32, 2, half, 0, w) : DPT_ERR_MEMORY;
    if (status == DPT_OK) {
        for (int64_t i = 0; i < n; i++) w[n + i] = w[i] = (float)(2 * pi * w[i]);
        for (int64_t i = 0; i < o->width; i++) b[i] = (float)(pi / 2);
        dpt_tensor *weight = dpt_constant(g, DPT_F32, 2, both, w), *bias = dpt_constant(g, DPT_F32, 1, both, b);
        *y = dpt_sin(dpt_linear_with(x, weight, bias));
    }
    dpt_free(w);
    dpt_free(b);
    return status;
}

dpt_status dpt_model_fourier(dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check("fourier", o));
    DPT_CHECK(o->width > 0 && o->sigma > 0 && o->n_hidden > 0, DPT_ERR_CONFIG,
              "model fourier: width %lld, sigma %g, %d hidden layers", (long long)o->width, o->sigma, o->n_hidden);
    int64_t inputs = 1;
    for (int i = 0; i < o->in_ndim; i++) inputs *= o->in_dim[i];
    dpt_tensor *x = dpt_model_input(g, o);
    if (o->in_ndim > 1) x = dpt_flatten(x);
    DPT_TRY(features(g, o, x, inputs, &x));
    return dpt_model_layers("fourier", g, o, x);
}
