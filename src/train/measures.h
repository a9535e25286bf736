/* measures.h: how good predictions are, over all samples of all ranks: accuracy, top5 and a confusion matrix of
 * classes; mae, rmse and r2 of numbers. Rows are added batch by batch on the host, in f64 and whole numbers; ranks are
 * summed once, at the end, so counts are exact and a mean divides by the number of all values.
 *
 *   DPT_TRY(dpt_measures_create(&(dpt_measures_about){.names = names, .count = 2, .classes = 10, .values = 10}, &m));
 *   dpt_measures_add(m, logits, target, rows);                    for each batch
 *   DPT_TRY(dpt_measures_finish(m, &control));
 *   for (int i = 0; i < dpt_measures_count(m); i++) ... dpt_measures_name(m, i), dpt_measures_value(m, i) ...
 *
 * Definitions, over samples s (and positions) and outputs e: a prediction is right in the first k where fewer than k
 * logits are larger than the target's, or equal and before it. mae = mean |y - t|, rmse = sqrt(mean (y - t)^2),
 * r2 = 1 - sum (y - t)^2 / sum (t - mean of t_e over samples)^2, NaN where the targets do not differ. */
#ifndef DPT_TRAIN_MEASURES_H
#define DPT_TRAIN_MEASURES_H

#include <stdint.h>

#include "backend/control.h"

enum { DPT_MEASURES_MAX = 8, DPT_MEASURES_TOP = 5, DPT_MEASURES_ALL = 48 /* of all targets together */ };

typedef struct dpt_measures dpt_measures;

typedef struct dpt_measures_about {
    const char *const *names; /* NULL: accuracy, and top5 with more than five classes; mae, rmse, r2 of numbers */
    int count;
    int64_t classes; /* 0: numbers */
    int ignores;     /* 1: targets equal to `ignore` count for nothing */
    int64_t ignore;
    int64_t values; /* of a sample's prediction: classes times positions, or numbers */
} dpt_measures_about;

/* Copies what it needs. Local. DPT_ERR_CONFIG: a name that is unknown (the nearest is named), given twice, or does not
 * fit classes or numbers. */
dpt_status dpt_measures_create(const dpt_measures_about *about, dpt_measures **measures);
void dpt_measures_destroy(dpt_measures **measures);

/* Local. Adds rows: predictions f32 [rows, classes, positions] with targets i64 [rows, positions], of which those
 * outside [0, classes), and the ignored ones, count for nothing; or f32 [rows, values] with targets f32 [rows, values].
 */
void dpt_measures_add(dpt_measures *measures, const float *prediction, const void *target, int64_t rows);
/* Sums over ranks and makes the values; what is added next begins anew. Collective. */
dpt_status dpt_measures_finish(dpt_measures *measures, const dpt_control *control);

/* Of the last finish. "confusion" is no number and is not counted here. Local; borrowed. */
int dpt_measures_count(const dpt_measures *measures);
const char *dpt_measures_name(const dpt_measures *measures, int i);
double dpt_measures_value(const dpt_measures *measures, int i);
/* [classes, classes]: samples of class row that were taken for class column; NULL where it was not asked for. */
const int64_t *dpt_measures_confusion(const dpt_measures *measures);
/* Whether a metric of this name is of classes (1) or numbers (0); -1: there is none. Local. */
int dpt_measure_of_classes(const char *name);
/* Whether more of it is better; "loss" too. A target's name and "_" may stand before it. Local. */
int dpt_measure_rises(const char *name);

#endif
