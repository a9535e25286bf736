/* measures.c: see measures.h. All sums lie in two arrays, one of whole numbers and one of f64, so that ranks need one
 * exchange of each. */
#include "train/measures.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

typedef enum measure { ACCURACY, TOP5, CONFUSION, MAE, RMSE, R2, MEASURES } measure;

static const struct {
    const char *name;
    bool of_classes, rises;
} table[MEASURES] = {
    [ACCURACY] = {"accuracy", true, true}, [TOP5] = {"top5", true, true},   [CONFUSION] = {"confusion", true, true},
    [MAE] = {"mae", false, false},         [RMSE] = {"rmse", false, false}, [R2] = {"r2", false, true}};

/* Counts: samples (or values), right ones, right ones in the first five; then the confusion matrix. */
enum { SEEN, RIGHT, RIGHT_TOP, COUNTS };
/* Sums: |d|, d^2; then t and t^2 by output. */
enum { ABSOLUTE, SQUARE, SUMS };

struct dpt_measures {
    measure kind[DPT_MEASURES_MAX];
    double value[DPT_MEASURES_MAX];
    int count;
    bool wants_confusion, wants_r2;
    int64_t classes, values;
    bool ignores;
    int64_t ignore;
    int64_t *counts, n_counts;
    double *sums;
    int64_t n_sums;
    int64_t *confusion; /* of the last finish */
};

int dpt_measure_of_classes(const char *name) {
    for (int i = 0; i < MEASURES; i++)
        if (strcmp(table[i].name, name) == 0) return table[i].of_classes;
    return -1;
}

int dpt_measure_rises(const char *name) {
    if (strrchr(name, '_')) name = strrchr(name, '_') + 1;
    for (int i = 0; i < MEASURES; i++)
        if (strcmp(table[i].name, name) == 0) return table[i].rises;
    return 0;
}

static dpt_status find(const char *name, bool of_classes, measure *found) {
    const char *names[MEASURES];
    for (int i = 0; i < MEASURES; i++) {
        names[i] = table[i].name;
        if (strcmp(name, names[i]) != 0) continue;
        DPT_CHECK(table[i].of_classes == of_classes, DPT_ERR_CONFIG, "metric \"%s\" is for %s: this loss has %s", name,
                  table[i].of_classes ? "classes" : "numbers", of_classes ? "classes" : "numbers");
        *found = (measure)i;
        return DPT_OK;
    }
    const char *near = dpt_nearest(name, names, MEASURES);
    if (near) return dpt_error(DPT_ERR_CONFIG, "no metric \"%s\": did you mean \"%s\"?", name, near);
    return dpt_error(DPT_ERR_CONFIG, "no metric \"%s\": there are accuracy, top5, confusion, mae, rmse, r2", name);
}

static dpt_status add_kind(dpt_measures *m, measure kind) {
    for (int i = 0; i < m->count; i++)
        DPT_CHECK(m->kind[i] != kind, DPT_ERR_CONFIG, "metric \"%s\" is given twice", table[kind].name);
    DPT_CHECK(kind != CONFUSION || !m->wants_confusion, DPT_ERR_CONFIG, "metric \"confusion\" is given twice");
    m->wants_confusion |= kind == CONFUSION;
    m->wants_r2 |= kind == R2;
    if (kind != CONFUSION) m->kind[m->count++] = kind;
    return DPT_OK;
}

static dpt_status add_kinds(dpt_measures *m, const dpt_measures_about *about) {
    measure kind = ACCURACY;
    for (int i = 0; i < about->count; i++) {
        DPT_TRY(find(about->names[i], m->classes > 0, &kind));
        DPT_TRY(add_kind(m, kind));
    }
    if (about->count > 0) return DPT_OK;
    for (kind = ACCURACY; kind < MEASURES; kind++) {
        bool fits = table[kind].of_classes == (m->classes > 0) && kind != CONFUSION;
        if (kind == TOP5) fits &= m->classes > DPT_MEASURES_TOP;
        if (fits) DPT_TRY(add_kind(m, kind));
    }
    return DPT_OK;
}

dpt_status dpt_measures_create(const dpt_measures_about *about, dpt_measures **measures) {
    *measures = NULL;
    dpt_measures *m = dpt_alloc_zero(1, sizeof *m);
    DPT_CHECK_ALLOC(m);
    m->classes = about->classes;
    m->values = about->values;
    m->ignores = about->ignores != 0;
    m->ignore = about->ignore;
    dpt_status status;
    DPT_TRY_GOTO(add_kinds(m, about), fail);
    int64_t matrix = m->wants_confusion ? m->classes * m->classes : 0;
    m->n_counts = COUNTS + matrix;
    m->n_sums = SUMS + (m->wants_r2 ? 2 * m->values : 0);
    DPT_CHECK_GOTO(m->n_counts < INT32_MAX && m->n_sums < INT32_MAX, fail, DPT_ERR_CONFIG,
                   "a confusion matrix of %lld classes is too large", (long long)m->classes);
    m->counts = dpt_alloc_zero((size_t)m->n_counts, sizeof *m->counts);
    m->sums = dpt_alloc_zero((size_t)m->n_sums, sizeof *m->sums);
    m->confusion = dpt_alloc_zero((size_t)matrix + 1, sizeof *m->confusion);
    DPT_CHECK_ALLOC_GOTO(m->counts, fail);
    DPT_CHECK_ALLOC_GOTO(m->sums, fail);
    DPT_CHECK_ALLOC_GOTO(m->confusion, fail);
    *measures = m;
    return DPT_OK;
fail:
    dpt_measures_destroy(&m);
    return status;
}

void dpt_measures_destroy(dpt_measures **measures) {
    dpt_measures *m = *measures;
    *measures = NULL;
    if (m == NULL) return;
    dpt_free(m->counts);
    dpt_free(m->sums);
    dpt_free(m->confusion);
    dpt_free(m);
}

/* Logits of one position stand `stride` apart. A logit that is NaN, or faces one, stands before the
 * target's: what has diverged is never right. */
static void add_class(dpt_measures *m, const float *logit, int64_t stride, int64_t target) {
    int64_t before = 0, best = 0;
    float wanted = logit[target * stride];
    for (int64_t c = 0; c < m->classes; c++) {
        float other = logit[c * stride];
        if (c != target) before += c < target ? !(other < wanted) : !(other <= wanted);
        if (other > logit[best * stride]) best = c;
    }
    m->counts[SEEN]++;
    m->counts[RIGHT] += before < 1;
    m->counts[RIGHT_TOP] += before < DPT_MEASURES_TOP;
    if (m->wants_confusion) m->counts[COUNTS + target * m->classes + best]++;
}

static void add_numbers(dpt_measures *m, const float *y, const float *t) {
    double absolute = 0, square = 0, *by_output = m->sums + SUMS;
    for (int64_t e = 0; e < m->values; e++) {
        double d = (double)y[e] - (double)t[e];
        absolute += fabs(d);
        square += d * d;
    }
    m->sums[ABSOLUTE] += absolute;
    m->sums[SQUARE] += square;
    m->counts[SEEN] += m->values;
    for (int64_t e = 0; m->wants_r2 && e < m->values; e++) {
        by_output[2 * e] += (double)t[e];
        by_output[2 * e + 1] += (double)t[e] * (double)t[e];
    }
}

void dpt_measures_add(dpt_measures *m, const float *prediction, const void *target, int64_t rows) {
    int64_t positions = m->classes > 0 ? m->values / m->classes : 0;
    const int64_t *classes = target;
    for (int64_t r = 0; r < rows; r++, prediction += m->values) {
        if (m->classes == 0) add_numbers(m, prediction, (const float *)target + r * m->values);
        for (int64_t p = 0; p < positions; p++) {
            int64_t wanted = classes[r * positions + p];
            if (m->ignores && wanted == m->ignore) continue;
            if (wanted >= 0 && wanted < m->classes) add_class(m, prediction + p, positions, wanted);
        }
    }
}

/* sum over e of (sum t^2 - (sum t)^2 / n). */
static double total_squares(const dpt_measures *m, double rows) {
    double total = 0;
    for (int64_t e = 0; m->wants_r2 && e < m->values; e++) {
        double t = m->sums[SUMS + 2 * e];
        total += m->sums[SUMS + 2 * e + 1] - t * t / rows;
    }
    return total;
}

static double value_of(const dpt_measures *m, measure kind) {
    double seen = (double)m->counts[SEEN];
    double total = kind == R2 ? total_squares(m, seen / (double)m->values) : 0;
    switch (kind) {
        case ACCURACY: return (double)m->counts[RIGHT] / seen;
        case TOP5: return (double)m->counts[RIGHT_TOP] / seen;
        case MAE: return m->sums[ABSOLUTE] / seen;
        case RMSE: return sqrt(m->sums[SQUARE] / seen);
        case R2: return total > 0 ? 1 - m->sums[SQUARE] / total : NAN;
        default: return NAN;
    }
}

dpt_status dpt_measures_finish(dpt_measures *m, const dpt_control *control) {
    DPT_TRY(dpt_control_sum_i64(control, m->counts, (int)m->n_counts));
    DPT_TRY(dpt_control_sum_f64(control, m->sums, (int)m->n_sums));
    for (int i = 0; i < m->count; i++) m->value[i] = m->counts[SEEN] > 0 ? value_of(m, m->kind[i]) : NAN;
    memcpy(m->confusion, m->counts + COUNTS, (size_t)(m->n_counts - COUNTS) * sizeof *m->confusion);
    memset(m->counts, 0, (size_t)m->n_counts * sizeof *m->counts);
    memset(m->sums, 0, (size_t)m->n_sums * sizeof *m->sums);
    return DPT_OK;
}

int dpt_measures_count(const dpt_measures *m) { return m->count; }
const char *dpt_measures_name(const dpt_measures *m, int i) { return table[m->kind[i]].name; }
double dpt_measures_value(const dpt_measures *m, int i) { return m->value[i]; }
const int64_t *dpt_measures_confusion(const dpt_measures *m) { return m->wants_confusion ? m->confusion : NULL; }
