/* convert.c: which loops of convert_kernels.h make what an input wants of what is stored, and what is wrong with a
 * value that they found bad.
 *
 * Scale, clip, mean and std are one step, y = x*a + b held within [low, high], with all four formed in f64 for each
 * channel: a sample is [channels, elements/channels] to it. A logarithm, or channels of few elements, make it two steps
 * over blocks that stay in the cache, as do elements that are not native. Only where a loop says that some value was
 * bad a second, slow pass looks for the first one.
 *
 * Invariant: b is -0 where nothing is added, so that -0 stays -0. */
#include "data/convert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/numbers.h"
#include "data/convert_kernels.h"

/* Elements of a block; of a channel, so that it is worth a call. */
enum { BLOCK = 1024, LEAST_RUN = 32, TEXT_BYTES = 32 };

struct dpt_convert {
    dpt_stored stored;
    dpt_dtype to;
    dpt_normalise n;  /* its mean and std are not kept */
    int64_t elements; /* of a sample as stored */
    bool same;        /* neither type nor value changes */
    bool packed;      /* dpt_stored_is_packed */

    /* floats: element e has affine[e / period % channels], or each_a[e % period] and each_b */
    int64_t channels, period;
    dpt_affine *affine;      /* the whole of it; with two steps the second */
    double *each_a, *each_b; /* [period]; NULL: the above counts */
    dpt_affine_fn first, last;
    dpt_affine before; /* the first of two steps, to `work`: clip(x scale) + offset */
    dpt_dtype work;

    dpt_integer_fn integer; /* with one-hot to i64 */
    dpt_bounds bounds;
};

static bool is_float(dpt_dtype dtype) { return dtype == DPT_F32 || dtype == DPT_F64; }

static double scale_of(const dpt_normalise *n) { return n->scale != 0 ? n->scale : 1; }

static bool changes_values(const dpt_normalise *n) {
    return n->mean || n->std || scale_of(n) != 1 || n->clips || n->logs;
}

/* v = clip(stored * scale) + offset */
static double before_log(const dpt_normalise *n, double stored) {
    double v = stored * scale_of(n);
    if (n->clips) v = v < n->low ? n->low : v > n->high ? n->high : v;
    return n->logs ? v + n->offset : v;
}

double dpt_normalise_value(const dpt_normalise *n, int64_t channel, double stored) {
    double v = before_log(n, stored);
    if (n->logs) v = log(v);
    int64_t c = n->channels > 1 ? channel : 0;
    return (v - (n->mean ? n->mean[c] : 0)) / (n->std ? n->std[c] : 1);
}

dpt_status dpt_field_delivered(const dpt_field *field, const dpt_normalise *n, dpt_field *delivered) {
    *delivered = *field;
    if (n == NULL || n->one_hot <= 0) return DPT_OK;
    DPT_CHECK(field->ndim < DPT_MAX_NDIM, DPT_ERR_ARG,
              "input \"%s\": samples have %d dimensions, at most %d so that one-hot can add one", field->name,
              field->ndim, DPT_MAX_NDIM - 1);
    DPT_CHECK(!__builtin_mul_overflow(field->elements, n->one_hot, &delivered->elements), DPT_ERR_ARG,
              "input \"%s\": %lld integers of %lld classes a sample are more than 2^63 values", field->name,
              (long long)field->elements, (long long)n->one_hot);
    delivered->dim[delivered->ndim++] = n->one_hot;
    return DPT_OK;
}

/* ---- creation ---- */

static dpt_status check_channels(const dpt_field *field, const dpt_normalise *n) {
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

static dpt_status check_one_hot(const dpt_field *field, const dpt_normalise *n) {
    DPT_CHECK(n->one_hot > 0, DPT_ERR_ARG, "input \"%s\": one-hot of %lld classes", field->name, (long long)n->one_hot);
    DPT_CHECK(!changes_values(n), DPT_ERR_ARG, "input \"%s\" is one-hot: only numbers can be normalised", field->name);
    DPT_CHECK(field->stored.kind != DPT_STORED_FLOAT, DPT_ERR_ARG,
              "input \"%s\" is stored as %s: only integers can become one-hot", field->name,
              dpt_stored_text(field->stored));
    dpt_field delivered;
    return dpt_field_delivered(field, n, &delivered);
}

static dpt_status check_normalise(const dpt_field *field, const dpt_normalise *n) {
    if (!is_float(field->dtype)) {
        DPT_CHECK(!changes_values(n) && n->one_hot == 0, DPT_ERR_ARG,
                  "input \"%s\" is %s: only floats can be normalised", field->name, dpt_dtype_text(field->dtype));
        DPT_CHECK(n->classes >= 0, DPT_ERR_ARG, "input \"%s\": %lld classes", field->name, (long long)n->classes);
        return DPT_OK;
    }
    DPT_CHECK(n->classes == 0, DPT_ERR_ARG, "input \"%s\" is %s: only integers have classes", field->name,
              dpt_dtype_text(field->dtype));
    DPT_CHECK(isfinite(n->scale), DPT_ERR_ARG, "input \"%s\": scale %g", field->name, n->scale);
    DPT_CHECK(!n->clips || (isfinite(n->low) && isfinite(n->high) && n->low <= n->high), DPT_ERR_ARG,
              "input \"%s\" cannot be clipped to [%g, %g]", field->name, n->low, n->high);
    DPT_CHECK(!n->logs || isfinite(n->offset), DPT_ERR_ARG, "input \"%s\": a logarithm with offset %g", field->name,
              n->offset);
    if (n->one_hot != 0) return check_one_hot(field, n);
    return n->mean || n->std ? check_channels(field, n) : DPT_OK;
}

static void set_bounds(dpt_convert *c) {
    const dpt_normalise *n = &c->n;
    int unused = 64 - 8 * c->stored.bytes;
    bool is_signed = c->stored.kind == DPT_STORED_SIGNED;
    int64_t least = is_signed ? INT64_MIN >> unused : 0;
    uint64_t most = is_signed ? (uint64_t)INT64_MAX >> unused : UINT64_MAX >> unused;
    int64_t to_least = c->to == DPT_U8 ? 0 : c->to == DPT_I32 ? INT32_MIN : INT64_MIN;
    uint64_t to_most = c->to == DPT_U8 ? UINT8_MAX : c->to == DPT_I32 ? INT32_MAX : INT64_MAX;
    if (least < to_least) least = to_least;
    if (most > to_most) most = to_most;
    c->bounds = (dpt_bounds){.least = least, .most = most, .other = least};
    int64_t classes = n->one_hot > 0 ? n->one_hot : n->classes;
    if (classes <= 0) return;
    bool fits = n->ignore >= least && (n->ignore < 0 || (uint64_t)n->ignore <= most);
    c->bounds.least = 0;
    if (most > (uint64_t)(classes - 1)) c->bounds.most = (uint64_t)(classes - 1);
    c->bounds.other = n->ignores && n->one_hot == 0 && fits ? n->ignore : 0;
}

static dpt_affine *new_affine(dpt_convert *c, const dpt_normalise *n, bool whole) {
    c->affine = dpt_alloc((size_t)c->channels * sizeof *c->affine);
    for (int64_t k = 0; c->affine && k < c->channels; k++) {
        double std = n->std ? n->std[k] : 1, mean = n->mean ? n->mean[k] : 0;
        bool clips = whole && n->clips;
        c->affine[k] = (dpt_affine){.a = (whole ? scale_of(n) : 1) / std,
                                    .b = -mean / std,
                                    .low = clips ? (n->low - mean) / std : -HUGE_VAL,
                                    .high = clips ? (n->high - mean) / std : HUGE_VAL};
    }
    return c->affine;
}

/* The second step, element by element, for as many whole samples as a block takes. */
static dpt_status spread_channels(dpt_convert *c) {
    int64_t run = c->elements / c->channels;
    c->period = c->elements * (c->elements < BLOCK ? BLOCK / c->elements : 1);
    c->each_a = dpt_alloc((size_t)c->period * sizeof *c->each_a);
    c->each_b = dpt_alloc((size_t)c->period * sizeof *c->each_b);
    if (!c->each_a || !c->each_b) return DPT_ERR_MEMORY;
    for (int64_t e = 0; e < c->period; e++) {
        c->each_a[e] = c->affine[e / run % c->channels].a;
        c->each_b[e] = c->affine[e / run % c->channels].b;
    }
    return DPT_OK;
}

static dpt_status set_floats(dpt_convert *c, const dpt_normalise *n) {
    c->channels = n->mean || n->std ? n->channels : 1;
    c->period = c->channels == 1 ? INT64_MAX : c->elements / c->channels;
    bool spreads = c->channels > 1 && c->period < LEAST_RUN, whole = !spreads && !n->logs;
    if (new_affine(c, n, whole) == NULL) return DPT_ERR_MEMORY;
    c->first = dpt_affine_kernel(c->stored, c->to);
    if (whole) return DPT_OK;
    c->work = c->to == DPT_F32 && dpt_stored_fits_f32(c->stored) && !spreads ? DPT_F32 : DPT_F64;
    c->before = (dpt_affine){.a = scale_of(n), .b = n->logs ? n->offset : -0.0, .low = -HUGE_VAL, .high = HUGE_VAL};
    if (n->clips) c->before.low = n->logs ? n->low + n->offset : n->low;
    if (n->clips) c->before.high = n->logs ? n->high + n->offset : n->high;
    c->first = dpt_affine_kernel(c->stored, c->work);
    c->last = dpt_affine_kernel(dpt_stored_of(c->work), c->to);
    return spreads ? spread_channels(c) : DPT_OK;
}

dpt_status dpt_convert_create(const dpt_field *field, const dpt_normalise *normalise, dpt_convert **convert) {
    static const dpt_normalise none = {0};
    const dpt_normalise *n = normalise ? normalise : &none;
    *convert = NULL;
    DPT_TRY(check_normalise(field, n));
    dpt_convert *c = dpt_alloc_zero(1, sizeof *c);
    DPT_CHECK_ALLOC(c);
    *c = (dpt_convert){.stored = field->stored,
                       .to = field->dtype,
                       .n = *n,
                       .elements = field->elements,
                       .same = dpt_stored_is(field->stored, field->dtype) && !changes_values(n) && n->one_hot == 0,
                       .packed = dpt_stored_is_packed(field->stored)};
    c->n.mean = c->n.std = NULL;
    dpt_status status = DPT_OK;
    if (is_float(field->dtype) && n->one_hot == 0)
        DPT_TRY_GOTO(set_floats(c, n), fail);
    else
        c->integer = dpt_integer_kernel(c->stored, n->one_hot > 0 ? DPT_I64 : c->to);
    if (c->integer) set_bounds(c);
    DPT_CHECK_GOTO(c->first || c->integer, fail, DPT_ERR_UNSUPPORTED, "input \"%s\": %s cannot become %s", field->name,
                   dpt_stored_text(field->stored), dpt_dtype_text(field->dtype));
    *convert = c;
    return DPT_OK;
fail:
    dpt_convert_destroy(&c);
    return status;
}

void dpt_convert_destroy(dpt_convert **convert) {
    if (*convert == NULL) return;
    dpt_free((*convert)->affine);
    dpt_free((*convert)->each_a);
    dpt_free((*convert)->each_b);
    dpt_free(*convert);
    *convert = NULL;
}

bool dpt_convert_in_place(const dpt_convert *convert) { return convert->same; }

int64_t dpt_convert_elements(const dpt_convert *c) {
    return c->n.one_hot > 0 ? c->elements * c->n.one_hot : c->elements;
}

/* ---- conversion ---- */

static int run_floats(const dpt_convert *c, const void *in, int64_t at, int64_t n, void *out) {
    const dpt_affine *affine = &c->affine[c->channels == 1 || c->each_a ? 0 : at / c->period % c->channels];
    if (c->same && in == out) return dpt_finite_kernel(c->to)(in, n, affine, out);
    if (c->last == NULL) return c->first(in, n, affine, out);
    _Alignas(64) double work[BLOCK];
    c->first(in, n, &c->before, work);
    if (c->n.logs) dpt_log_kernel(c->work, work, n);
    if (c->each_a == NULL) return c->last(work, n, affine, out);
    return dpt_affine_each(work, n, c->each_a + at % c->period, c->each_b + at % c->period, c->to, out);
}

static int run_one_hot(const dpt_convert *c, const void *in, int64_t n, void *out) {
    int64_t class[BLOCK];
    if (c->integer(in, n, &c->bounds, class)) return 1;
    memset(out, 0, (size_t)(n * c->n.one_hot) * dpt_dtype_size(c->to));
    for (int64_t i = 0; i < n; i++) {
        if (c->to == DPT_F32)
            ((float *)out)[i * c->n.one_hot + class[i]] = 1;
        else
            ((double *)out)[i * c->n.one_hot + class[i]] = 1;
    }
    return 0;
}

/* How many of the elements [at, n) go together: of one channel, of a block where there is room for no more. */
static int64_t run_length(const dpt_convert *c, int64_t at, int64_t n) {
    int64_t length = n - at;
    if (c->integer == NULL && c->period - at % c->period < length) length = c->period - at % c->period;
    bool blocks = c->packed || c->last || c->n.one_hot > 0;
    return blocks && length > BLOCK ? BLOCK : length;
}

static int run(const dpt_convert *c, const char *in, int64_t n, char *out) {
    _Alignas(64) double native[BLOCK];
    size_t out_bytes = dpt_dtype_size(c->to) * (size_t)(c->n.one_hot > 0 ? c->n.one_hot : 1);
    int bad = 0;
    for (int64_t at = 0, length; at < n; at += length) {
        const void *from = in;
        length = run_length(c, at, n);
        if (c->packed) {
            dpt_stored_unpack(c->stored, in, length, native);
            from = native;
        }
        bad |= c->n.one_hot > 0 ? run_one_hot(c, from, length, out)
               : c->integer     ? c->integer(from, length, &c->bounds, out)
                                : run_floats(c, from, at, length, out);
        in += (size_t)length * c->stored.bytes;
        out += (size_t)length * out_bytes;
    }
    return bad;
}

/* ---- what is wrong ---- */

/* The bits of an element, an integer widened to 64 by its sign. */
static uint64_t bits_at(const dpt_convert *c, const void *in, int64_t i) {
    const int bytes = c->stored.bytes, unused = 64 - 8 * bytes;
    const unsigned char *at = (const unsigned char *)in + (size_t)i * c->stored.bytes;
    uint64_t bits = 0;
    for (int k = 0; k < bytes; k++) bits = bits << 8 | at[c->stored.big_endian ? k : bytes - 1 - k];
    if (c->stored.kind != DPT_STORED_SIGNED) return bits;
    return (uint64_t)((int64_t)(bits << unused) >> unused);
}

/* The element as a number, and in digits. */
static double stored_at(const dpt_convert *c, const void *in, int64_t i, char text[TEXT_BYTES]) {
    uint64_t bits = bits_at(c, in, i);
    double value;
    if (c->stored.kind == DPT_STORED_SIGNED) {
        snprintf(text, TEXT_BYTES, "%lld", (long long)bits);
        return (double)(int64_t)bits;
    }
    if (c->stored.kind == DPT_STORED_UNSIGNED) {
        snprintf(text, TEXT_BYTES, "%llu", (unsigned long long)bits);
        return (double)bits;
    }
    if (c->stored.bytes == 8)
        memcpy(&value, &bits, sizeof value);
    else
        value = (double)(c->stored.bytes == 4 ? dpt_f32_of_bits((uint32_t)bits) : dpt_f32_of_f16((uint16_t)bits));
    snprintf(text, TEXT_BYTES, "%g", value);
    return value;
}

static double float_at(const void *out, dpt_dtype dtype, int64_t i) {
    return dtype == DPT_F32 ? (double)((const float *)out)[i] : ((const double *)out)[i];
}

static dpt_status refuse_float(const dpt_convert *c, const void *in, int64_t n, const void *out, int64_t *bad) {
    char text[TEXT_BYTES];
    int64_t i = 0;
    while (i < n && isfinite(float_at(out, c->to, i))) i++;
    *bad = i;
    /* converted in place, the stored value is the value that is left */
    double stored = stored_at(c, in, i, text), v = before_log(&c->n, stored);
    if (isnan(stored) || (isinf(stored) && !c->n.clips)) return dpt_error(DPT_ERR_DATA, "the value %s", text);
    if (c->n.logs && v <= 0)
        return dpt_error(DPT_ERR_DATA, "the value %s has no logarithm: scaled, clipped and with its offset it is %g",
                         text, v);
    return dpt_error(DPT_ERR_DATA, "the value %s, which becomes %g in %s", text, float_at(out, c->to, i),
                     dpt_dtype_text(c->to));
}

static bool within(const dpt_convert *c, uint64_t bits) {
    const dpt_bounds *b = &c->bounds;
    int64_t v = (int64_t)bits;
    if (c->stored.kind == DPT_STORED_UNSIGNED) return bits <= b->most || bits == (uint64_t)b->other;
    return v == b->other || (v >= b->least && (v < 0 || bits <= b->most));
}

static dpt_status refuse_integer(const dpt_convert *c, const void *in, int64_t n, int64_t *bad) {
    char text[TEXT_BYTES];
    int64_t i = 0, classes = c->n.one_hot > 0 ? c->n.one_hot : c->n.classes;
    while (i < n - 1 && within(c, bits_at(c, in, i))) i++;
    *bad = i;
    stored_at(c, in, i, text);
    if (classes > 0) return dpt_error(DPT_ERR_DATA, "label %s is outside [0, %lld)", text, (long long)classes);
    return dpt_error(DPT_ERR_DATA, "the value %s does not fit %s", text, dpt_dtype_text(c->to));
}

dpt_status dpt_convert_rows(const dpt_convert *convert, const void *in, int64_t rows, void *out, int64_t *bad) {
    int64_t n = rows * convert->elements;
    if (!run(convert, in, n, out)) return DPT_OK;
    return convert->integer ? refuse_integer(convert, in, n, bad) : refuse_float(convert, in, n, out, bad);
}
