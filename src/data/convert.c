/* convert.c: one loop a pair of types, from a table. The affine step is y = x*a + b with a = scale/std and b =
 * -mean/std formed in f64, per channel: a sample is [channels, elements/channels] to it. Loops check without branching,
 * so that they vectorise; only where a check failed a second, slow pass finds the first bad element. */
#include "data/convert.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(DPT_NO_MULTIVERSION)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

/* Both return whether any value was bad. */
typedef int (*affine_fn)(const void *in, int64_t n, double a, double b, void *out);
typedef int (*integer_fn)(const void *in, int64_t n, int64_t limit, void *out);

struct dpt_convert {
    dpt_dtype from, to;
    int64_t elements; /* of a sample */
    int64_t channels;
    double *a, *b; /* [channels]; NULL for integers */
    int64_t classes;
    bool ignores;
    int64_t ignore;
    affine_fn affine;
    integer_fn integer;
    bool same; /* neither type nor value changes */
};

/* out[i] = in[i]*a + b in WORK; bad where the result is not finite. */
#define AFFINE(name, FROM, TO, WORK, LARGEST)                                              \
    CLONES static int name(const void *in, int64_t n, double a64, double b64, void *out) { \
        const FROM *x = in;                                                                \
        TO *y = out;                                                                       \
        WORK a = (WORK)a64, b = (WORK)b64;                                                 \
        int bad = 0;                                                                       \
        _Pragma("omp simd reduction(|:bad)") for (int64_t i = 0; i < n; i++) {             \
            TO v = (TO)((WORK)x[i] * a + b);                                               \
            y[i] = v;                                                                      \
            bad |= !(v <= LARGEST && v >= -LARGEST);                                       \
        }                                                                                  \
        return bad;                                                                        \
    }

AFFINE(u8_to_f32, uint8_t, float, float, FLT_MAX)
AFFINE(i32_to_f32, int32_t, float, double, FLT_MAX)
AFFINE(i64_to_f32, int64_t, float, double, FLT_MAX)
AFFINE(f32_to_f32, float, float, float, FLT_MAX)
AFFINE(f64_to_f32, double, float, double, FLT_MAX)
AFFINE(u8_to_f64, uint8_t, double, double, DBL_MAX)
AFFINE(i32_to_f64, int32_t, double, double, DBL_MAX)
AFFINE(i64_to_f64, int64_t, double, double, DBL_MAX)
AFFINE(f32_to_f64, float, double, double, DBL_MAX)
AFFINE(f64_to_f64, double, double, double, DBL_MAX)

/* out[i] = in[i]; bad outside [0, limit) where limit > 0, and where the value does not survive the cast. */
#define INTEGER(name, FROM, TO)                                                   \
    CLONES static int name(const void *in, int64_t n, int64_t limit, void *out) { \
        const FROM *x = in;                                                       \
        TO *y = out;                                                              \
        int bad = 0, bounded = limit > 0;                                         \
        _Pragma("omp simd reduction(|:bad)") for (int64_t i = 0; i < n; i++) {    \
            int64_t v = (int64_t)x[i];                                            \
            y[i] = (TO)v;                                                         \
            bad |= ((int64_t)y[i] != v) | (bounded & ((v < 0) | (v >= limit)));   \
        }                                                                         \
        return bad;                                                               \
    }

INTEGER(u8_to_u8, uint8_t, uint8_t)
INTEGER(u8_to_i32, uint8_t, int32_t)
INTEGER(u8_to_i64, uint8_t, int64_t)
INTEGER(i32_to_u8, int32_t, uint8_t)
INTEGER(i32_to_i32, int32_t, int32_t)
INTEGER(i32_to_i64, int32_t, int64_t)
INTEGER(i64_to_u8, int64_t, uint8_t)
INTEGER(i64_to_i32, int64_t, int32_t)
INTEGER(i64_to_i64, int64_t, int64_t)

static const affine_fn affine_table[DPT_DTYPE_COUNT][DPT_DTYPE_COUNT] = {
    [DPT_U8] = {[DPT_F32] = u8_to_f32, [DPT_F64] = u8_to_f64},
    [DPT_I32] = {[DPT_F32] = i32_to_f32, [DPT_F64] = i32_to_f64},
    [DPT_I64] = {[DPT_F32] = i64_to_f32, [DPT_F64] = i64_to_f64},
    [DPT_F32] = {[DPT_F32] = f32_to_f32, [DPT_F64] = f32_to_f64},
    [DPT_F64] = {[DPT_F32] = f64_to_f32, [DPT_F64] = f64_to_f64},
};
static const integer_fn integer_table[DPT_DTYPE_COUNT][DPT_DTYPE_COUNT] = {
    [DPT_U8] = {[DPT_U8] = u8_to_u8, [DPT_I32] = u8_to_i32, [DPT_I64] = u8_to_i64},
    [DPT_I32] = {[DPT_U8] = i32_to_u8, [DPT_I32] = i32_to_i32, [DPT_I64] = i32_to_i64},
    [DPT_I64] = {[DPT_U8] = i64_to_u8, [DPT_I32] = i64_to_i32, [DPT_I64] = i64_to_i64},
};

static bool is_float(dpt_dtype dtype) { return dtype == DPT_F32 || dtype == DPT_F64; }

static bool changes_values(const dpt_normalise *n) { return n->mean || n->std || (n->scale != 0 && n->scale != 1); }

static dpt_status check_normalise(const dpt_field *field, const dpt_normalise *n) {
    if (!is_float(field->dtype)) {
        DPT_CHECK(!changes_values(n), DPT_ERR_ARG, "input \"%s\" is %s: only floats can be normalised", field->name,
                  dpt_dtype_text(field->dtype));
        DPT_CHECK(n->classes >= 0, DPT_ERR_ARG, "input \"%s\": %lld classes", field->name, (long long)n->classes);
        return DPT_OK;
    }
    DPT_CHECK(n->classes == 0, DPT_ERR_ARG, "input \"%s\" is %s: only integers have classes", field->name,
              dpt_dtype_text(field->dtype));
    DPT_CHECK(isfinite(n->scale), DPT_ERR_ARG, "input \"%s\": scale %g", field->name, n->scale);
    if (!n->mean && !n->std) return DPT_OK;
    int64_t first = field->ndim > 0 ? field->dim[0] : 1;
    DPT_CHECK(n->channels == 1 || n->channels == first, DPT_ERR_ARG,
              "input \"%s\": mean and std of %lld channels, a sample has %lld", field->name, (long long)n->channels,
              (long long)first);
    for (int64_t c = 0; c < n->channels; c++) {
        bool fine = (!n->mean || isfinite(n->mean[c])) && (!n->std || (isfinite(n->std[c]) && n->std[c] > 0));
        DPT_CHECK(fine, DPT_ERR_ARG, "input \"%s\", channel %lld: mean %g, std %g", field->name, (long long)c,
                  n->mean ? n->mean[c] : 0, n->std ? n->std[c] : 1);
    }
    return DPT_OK;
}

static dpt_status set_affine(dpt_convert *convert, const dpt_normalise *n) {
    convert->channels = n->mean || n->std ? n->channels : 1;
    convert->a = dpt_alloc((size_t)convert->channels * sizeof *convert->a);
    convert->b = dpt_alloc((size_t)convert->channels * sizeof *convert->b);
    if (!convert->a || !convert->b) return DPT_ERR_MEMORY;
    for (int64_t c = 0; c < convert->channels; c++) {
        double std = n->std ? n->std[c] : 1, mean = n->mean ? n->mean[c] : 0;
        convert->a[c] = (n->scale != 0 ? n->scale : 1) / std;
        convert->b[c] = -mean / std;
    }
    return DPT_OK;
}

dpt_status dpt_convert_create(const dpt_field *field, const dpt_normalise *normalise, dpt_convert **convert) {
    static const dpt_normalise none = {0};
    const dpt_normalise *n = normalise ? normalise : &none;
    *convert = NULL;
    DPT_TRY(check_normalise(field, n));
    static const dpt_dtype known[] = {DPT_F32, DPT_F64, DPT_U8, DPT_I32, DPT_I64};
    dpt_dtype from = DPT_BF16; /* nothing comes from it */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (dpt_stored_is(field->stored, known[i])) from = known[i];
    dpt_convert *c = dpt_alloc_zero(1, sizeof *c);
    DPT_CHECK_ALLOC(c);
    *c = (dpt_convert){.from = from,
                       .to = field->dtype,
                       .elements = field->elements,
                       .classes = n->classes,
                       .ignores = n->classes > 0 && n->ignores,
                       .ignore = n->ignore,
                       .affine = affine_table[from][field->dtype],
                       .integer = integer_table[from][field->dtype]};
    c->same = from == field->dtype && !changes_values(n);
    dpt_status status = DPT_OK;
    if (is_float(field->dtype)) DPT_TRY_GOTO(set_affine(c, n), fail);
    DPT_CHECK_GOTO(c->affine || c->integer, fail, DPT_ERR_UNSUPPORTED, "input \"%s\": %s cannot become %s", field->name,
                   dpt_stored_text(field->stored), dpt_dtype_text(field->dtype));
    *convert = c;
    return DPT_OK;
fail:
    dpt_convert_destroy(&c);
    return status;
}

void dpt_convert_destroy(dpt_convert **convert) {
    if (*convert == NULL) return;
    dpt_free((*convert)->a);
    dpt_free((*convert)->b);
    dpt_free(*convert);
    *convert = NULL;
}

bool dpt_convert_in_place(const dpt_convert *convert) { return convert->same; }

static double float_at(const void *out, dpt_dtype dtype, int64_t i) {
    return dtype == DPT_F32 ? (double)((const float *)out)[i] : ((const double *)out)[i];
}

static int64_t integer_at(const void *in, dpt_dtype dtype, int64_t i) {
    if (dtype == DPT_U8) return ((const uint8_t *)in)[i];
    return dtype == DPT_I32 ? ((const int32_t *)in)[i] : ((const int64_t *)in)[i];
}

static dpt_status refuse_float(const dpt_convert *c, const void *in, int64_t n, const void *out, int64_t *bad) {
    int64_t i = 0;
    while (i < n && isfinite(float_at(out, c->to, i))) i++;
    *bad = i;
    /* converted in place, the stored value is the value that is left */
    double stored = is_float(c->from) ? float_at(in, c->from, i) : (double)integer_at(in, c->from, i);
    if (!isfinite(stored)) return dpt_error(DPT_ERR_DATA, "the value %g", stored);
    return dpt_error(DPT_ERR_DATA, "the value %g, which becomes %g in %s", stored, float_at(out, c->to, i),
                     dpt_dtype_text(c->to));
}

/* Finds what is wrong: nothing, where all that is out of range is the class that is ignored. */
static dpt_status refuse_integer(const dpt_convert *c, const void *in, int64_t n, int64_t *bad) {
    int64_t least = c->classes > 0 || c->to == DPT_U8 ? 0 : c->to == DPT_I32 ? INT32_MIN : INT64_MIN;
    int64_t most = c->to == DPT_U8 ? UINT8_MAX : c->to == DPT_I32 ? INT32_MAX : INT64_MAX;
    bool classes = c->classes > 0 && c->classes - 1 < most;
    if (classes) most = c->classes - 1;
    int64_t i = 0, v = 0;
    for (; i < n; i++) {
        v = integer_at(in, c->from, i);
        bool ignored = c->ignores && v == c->ignore && (c->to != DPT_U8 || (v >= 0 && v <= UINT8_MAX)) &&
                       (c->to != DPT_I32 || (v >= INT32_MIN && v <= INT32_MAX));
        if ((v < least || v > most) && !ignored) break;
    }
    if (i == n) return DPT_OK;
    *bad = i;
    if (c->classes > 0)
        return dpt_error(DPT_ERR_DATA, "label %lld is outside [0, %lld)", (long long)v, (long long)c->classes);
    return dpt_error(DPT_ERR_DATA, "the value %lld does not fit %s", (long long)v, dpt_dtype_text(c->to));
}

static int run_affine(const dpt_convert *c, const char *in, int64_t rows, char *out) {
    if (c->channels == 1) return c->affine(in, rows * c->elements, c->a[0], c->b[0], out);
    int64_t inner = c->elements / c->channels;
    size_t in_step = (size_t)inner * dpt_dtype_size(c->from), out_step = (size_t)inner * dpt_dtype_size(c->to);
    int bad = 0;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t channel = 0; channel < c->channels; channel++) {
            bad |= c->affine(in, inner, c->a[channel], c->b[channel], out);
            in += in_step;
            out += out_step;
        }
    return bad;
}

dpt_status dpt_convert_rows(const dpt_convert *convert, const void *in, int64_t rows, void *out, int64_t *bad) {
    int64_t n = rows * convert->elements;
    if (convert->affine) return run_affine(convert, in, rows, out) ? refuse_float(convert, in, n, out, bad) : DPT_OK;
    return convert->integer(in, n, convert->classes, out) ? refuse_integer(convert, in, n, bad) : DPT_OK;
}
