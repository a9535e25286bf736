/* init.c: initialisers. All are one of four draws: constant, uniform, normal (truncated or not), orthogonal, with
 * numbers that follow from the shape. Invariant: values are a function of name, seed, shape and init; changing how an
 * element takes its number changes every model's start (random numbers, version 1). */
#include "graph/init.h"

#include <math.h>
#include <stdbool.h>

#include "backend/parallel.h"
#include "base/memory.h"
#include "base/random.h"

typedef struct filling {
    const char *name;
    dpt_dtype dtype;
    int64_t count, rows, fan_in, fan_out;
    uint64_t key;
    void *out;
} filling;

static dpt_status describe(filling *f, int ndim, const int64_t *dim) {
    DPT_CHECK(f->dtype == DPT_F32 || f->dtype == DPT_F64, DPT_ERR_ARG, "initialiser of \"%s\": type %s is no float",
              f->name, dpt_dtype_text(f->dtype));
    f->count = 1;
    for (int i = 0; i < ndim; i++) {
        DPT_CHECK(dim[i] > 0 && f->count <= ((int64_t)1 << 34) / dim[i], DPT_ERR_UNSUPPORTED,
                  "initialiser of \"%s\": dimension %d is %lld (positive, and at most 2^34 elements together)", f->name,
                  i, (long long)dim[i]);
        f->count *= dim[i];
    }
    if (ndim < 2) return DPT_OK;
    f->rows = dim[0];
    f->fan_in = f->count / dim[0];
    f->fan_out = f->count / dim[1];
    return DPT_OK;
}

static void put(const filling *f, int64_t i, double value) {
    if (f->dtype == DPT_F64)
        ((double *)f->out)[i] = value;
    else
        ((float *)f->out)[i] = (float)value;
}

static dpt_status fill_constant(const filling *f, double value) {
    for (int64_t i = 0; i < f->count; i++) put(f, i, value);
    return DPT_OK;
}

/* [low, high): rounding to f32 must not give high. */
static dpt_status fill_uniform(const filling *f, double low, double high) {
    DPT_CHECK(isfinite(low) && isfinite(high) && low <= high, DPT_ERR_ARG,
              "initialiser of \"%s\": uniform from %g to %g", f->name, low, high);
    double last = f->dtype == DPT_F64 ? nextafter(high, low) : (double)nextafterf((float)high, (float)low);
    for (int64_t i = 0; i < f->count; i++) {
        dpt_random4 r = dpt_random_quad(f->key, (uint32_t)(i / 4), 0, 0);
        put(f, i, fmin(low + (high - low) * (double)dpt_uniform_f32(r.v[i % 4]), last));
    }
    return DPT_OK;
}

static double normal_of(uint64_t key, int64_t i, uint32_t step) {
    dpt_random4 r = dpt_random_quad(key, (uint32_t)(i / 4), 0, step);
    double pair[2];
    int first = i % 4 < 2 ? 0 : 2;
    dpt_normal_pair(r.v[first], r.v[first + 1], &pair[0], &pair[1]);
    return pair[i % 2];
}

static dpt_status fill_normal(const filling *f, double mean, double deviation, bool truncated) {
    DPT_CHECK(isfinite(mean) && isfinite(deviation) && deviation >= 0, DPT_ERR_ARG,
              "initialiser of \"%s\": normal with mean %g and standard deviation %g", f->name, mean, deviation);
    for (int64_t i = 0; i < f->count; i++) {
        double z = normal_of(f->key, i, 0);
        for (uint32_t step = 1; truncated && fabs(z) > 2; step++) z = normal_of(f->key, i, step);
        put(f, i, mean + deviation * z);
    }
    return DPT_OK;
}

/* ---- orthogonal: Gram and Schmidt, twice over, on vectors of normal numbers (Saxe et al. 2013). The diagonal of the
 * implied R is positive, which makes the result uniform over orthogonal matrices. ---- */

enum { LANES = 8 };

DPT_MULTIVERSION static double dot(const double *a, const double *b, int64_t n) {
    double lane[LANES] = {0}, total = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += a[i + l] * b[i + l];
    for (; i < n; i++) total += a[i] * b[i];
    for (int l = 0; l < LANES; l++) total += lane[l];
    return total;
}

/* a -= factor * b */
DPT_MULTIVERSION static void subtract(double *restrict a, const double *restrict b, double factor, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) a[i] -= factor * b[i];
}

/* Makes the m rows of v [m, n], m <= n, orthonormal. */
static void orthonormalise(double *v, int64_t m, int64_t n) {
    for (int64_t i = 0; i < m; i++) {
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j < i; j++) subtract(v + i * n, v + j * n, dot(v + i * n, v + j * n, n), n);
        double scale = 1 / sqrt(dot(v + i * n, v + i * n, n));
        for (int64_t k = 0; k < n; k++) v[i * n + k] *= scale;
    }
}

static dpt_status fill_orthogonal(const filling *f, double gain) {
    DPT_CHECK(isfinite(gain), DPT_ERR_ARG, "initialiser of \"%s\": orthogonal times %g", f->name, gain);
    int64_t rows = f->rows, columns = f->count / f->rows;
    bool wide = rows <= columns; /* rows are the vectors, else columns */
    int64_t m = wide ? rows : columns, n = wide ? columns : rows;
    double *v = dpt_alloc_zero((size_t)f->count, sizeof *v);
    DPT_CHECK_ALLOC(v);
    for (int64_t i = 0; i < f->count; i++) {
        int64_t r = i / columns, c = i % columns;
        v[wide ? r * n + c : c * n + r] = normal_of(f->key, i, 0);
    }
    orthonormalise(v, m, n);
    for (int64_t i = 0; i < f->count; i++) {
        int64_t r = i / columns, c = i % columns;
        put(f, i, gain * v[wide ? r * n + c : c * n + r]);
    }
    dpt_free(v);
    return DPT_OK;
}

/* ---- kinds ---- */

static bool needs_matrix(dpt_init_kind kind) {
    return kind == DPT_INIT_KAIMING_UNIFORM || kind == DPT_INIT_KAIMING_NORMAL || kind == DPT_INIT_XAVIER_UNIFORM ||
           kind == DPT_INIT_XAVIER_NORMAL || kind == DPT_INIT_ORTHOGONAL;
}

/* U(-limit, limit) */
static dpt_status fill_symmetric(const filling *f, double limit) { return fill_uniform(f, -fabs(limit), fabs(limit)); }

dpt_status dpt_init_fill(const char *name, dpt_init init, dpt_dtype dtype, int ndim, const int64_t *dim, uint64_t seed,
                         void *out) {
    filling f = {.name = name, .dtype = dtype, .key = dpt_random_key(name, seed), .out = out};
    DPT_TRY(describe(&f, ndim, dim));
    DPT_CHECK(ndim >= 2 || !needs_matrix(init.kind), DPT_ERR_ARG,
              "initialiser of \"%s\": kind %d needs two dimensions or more, not %d", name, (int)init.kind, ndim);
    double in = (double)f.fan_in, both = (double)f.fan_in + (double)f.fan_out;
    switch (init.kind) {
        case DPT_INIT_ZEROS: return fill_constant(&f, 0);
        case DPT_INIT_ONES: return fill_constant(&f, 1);
        case DPT_INIT_CONSTANT: return fill_constant(&f, init.a);
        case DPT_INIT_UNIFORM: return fill_uniform(&f, init.a, init.b);
        case DPT_INIT_NORMAL: return fill_normal(&f, init.a, init.b, false);
        case DPT_INIT_TRUNCATED_NORMAL: return fill_normal(&f, init.a, init.b, true);
        case DPT_INIT_KAIMING_UNIFORM: return fill_symmetric(&f, init.a * sqrt(3 / in));
        case DPT_INIT_KAIMING_NORMAL: return fill_normal(&f, 0, init.a / sqrt(in), false);
        case DPT_INIT_XAVIER_UNIFORM: return fill_symmetric(&f, init.a * sqrt(6 / both));
        case DPT_INIT_XAVIER_NORMAL: return fill_normal(&f, 0, init.a * sqrt(2 / both), false);
        case DPT_INIT_ORTHOGONAL: return fill_orthogonal(&f, init.a);
        case DPT_INIT_FAN_IN_UNIFORM:
            DPT_CHECK(init.b > 0, DPT_ERR_ARG, "initialiser of \"%s\": fan-in %g is not positive", name, init.b);
            return fill_symmetric(&f, 1 / sqrt(init.b));
    }
    return dpt_error(DPT_ERR_ARG, "initialiser of \"%s\": no such kind: %d", name, (int)init.kind);
}
