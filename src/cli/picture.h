/* picture.h: a run as pictures, in SVG, which browsers and editors show: curves over steps, and a confusion matrix. A
 * history takes points as training goes and keeps the curves' size bounded: past DPT_PICTURE_POINTS every second point
 * of a curve goes, and from then on every second new one.
 *
 *   dpt_history h = {0};
 *   DPT_TRY(dpt_history_add(&h, DPT_PANEL_LOSS, "training", step, loss));      again and again
 *   DPT_TRY(dpt_picture_curves(&h, &svg));
 *   dpt_history_clear(&h);
 *
 * All functions are local. */
#ifndef DPT_CLI_PICTURE_H
#define DPT_CLI_PICTURE_H

#include <stdint.h>

#include "base/error.h"

enum { DPT_PICTURE_POINTS = 1000, DPT_PICTURE_CURVES = 16, DPT_PICTURE_CLASSES = 200, DPT_PICTURE_BINS = 64 };

typedef enum dpt_panel { DPT_PANEL_LOSS, DPT_PANEL_SHARES, DPT_PANEL_ERRORS, DPT_PANEL_LR, DPT_PANELS } dpt_panel;

typedef struct dpt_curve {
    dpt_panel panel;
    const char *name;
    double *x, *y;
    int64_t count, seen, stride;
} dpt_curve;

typedef struct dpt_history {
    dpt_curve curve[DPT_PICTURE_CURVES];
    int count;
} dpt_history;

/* Adds a point to the panel's curve of that name, which is borrowed; what is not finite is left out. DPT_ERR_MEMORY. */
dpt_status dpt_history_add(dpt_history *history, dpt_panel panel, const char *name, double x, double y);
void dpt_history_clear(dpt_history *history);

/* A panel for each kind of curve that there is; an axis whose values span two decades or more is logarithmic. Release
 * with dpt_free. */
dpt_status dpt_picture_curves(const dpt_history *history, char **svg);
/* counts [classes, classes], true class by row; a cell's shade is its share of the row. *svg is NULL for more than
 * DPT_PICTURE_CLASSES classes. Release with dpt_free. */
dpt_status dpt_picture_confusion(const int64_t *counts, int64_t classes, char **svg);

/* A field's values: bin i counts those from (first + i) width up to the next. */
typedef struct dpt_picture_histogram {
    char title[300];
    double first, width;
    int bins;
    uint64_t bin[DPT_PICTURE_BINS];
} dpt_picture_histogram;

/* A panel each, one below the other. Titles may hold any text. Release with dpt_free. */
dpt_status dpt_picture_histograms(const dpt_picture_histogram *panels, int64_t count, char **svg);

#endif
