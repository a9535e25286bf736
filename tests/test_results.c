/* What a run keeps of its course: curves thinned to a bounded size, pictures whose coordinates follow the values, early
 * stopping on metrics that rise, fall, stand still and are no number. That pictures are XML: tests/cli/features.sh. */
#include <stdlib.h>

#include "base/memory.h"
#include "check.h"
#include "cli/early_stop.h"
#include "cli/picture.h"

/* The evaluation, counted from 1, after which training ends, and the best one. */
static void check_stop(dpt_early_stop stop, const double *value, int n, int64_t end, int64_t best) {
    int64_t ended = 0;
    stop.metric = "m";
    for (int i = 0; i < n && ended == 0; i++) {
        bool better = dpt_early_stop_add(&stop, i + 1, value[i]);
        CHECK(better == (stop.best_epoch == i + 1));
        if (dpt_early_stop_ends(&stop)) ended = i + 1;
    }
    CHECK_EQ_I64(ended, end);
    CHECK_EQ_I64(stop.best_epoch, best);
}

static void early_stop(void) {
    const double worse[] = {1, 2, 3, 4, 5}, better[] = {5, 4, 3, 2, 1}, still[] = {2, 2, 2, 2, 2};
    const double back[] = {3, 2, 4, 4, 1, 9, 9, 9}, nan[] = {NAN, NAN, NAN, 1, NAN, NAN};
    check_stop((dpt_early_stop){.patience = 2}, worse, 5, 3, 1);
    check_stop((dpt_early_stop){.patience = 2}, better, 5, 0, 5);
    check_stop((dpt_early_stop){.patience = 1, .rises = true}, worse, 5, 0, 5);
    check_stop((dpt_early_stop){.patience = 1, .rises = true}, better, 5, 2, 1);
    check_stop((dpt_early_stop){.patience = 4}, still, 5, 5, 1);
    check_stop((dpt_early_stop){.patience = 3}, back, 8, 8, 5);
    check_stop((dpt_early_stop){.patience = 2, .min_delta = 1}, better, 5, 0, 5); /* 5, 3, 1: each by more than 1 */
    check_stop((dpt_early_stop){.patience = 2, .min_delta = 2}, better, 5, 3, 1);
    check_stop((dpt_early_stop){.patience = 4}, nan, 6, 0, 4);
    check_stop((dpt_early_stop){.patience = 3}, nan, 6, 3, 0);
    CHECK(!dpt_early_stop_ends(&(dpt_early_stop){.since = 100}));
}

static void history(void) {
    dpt_history h = {0};
    for (int i = 0; i < 2500; i++) CHECK_OK(dpt_history_add(&h, DPT_PANEL_LOSS, "training", i, 1.0 / (i + 1)));
    CHECK_OK(dpt_history_add(&h, DPT_PANEL_LOSS, "test", 10, NAN));
    CHECK_OK(dpt_history_add(&h, DPT_PANEL_LOSS, "test", 10, INFINITY));
    CHECK_EQ_I64(h.count, 1);
    CHECK_EQ_I64(h.curve[0].count, 625); /* every fourth */
    int wrong = 0;
    for (int64_t k = 0; k < h.curve[0].count; k++) wrong += h.curve[0].x[k] != 4.0 * (double)k;
    CHECK_EQ_I64(wrong, 0);
    dpt_history_clear(&h);
    CHECK_EQ_I64(h.count, 0);
}

static void curves(void) {
    dpt_history h = {0};
    char *svg = NULL;
    for (int i = 0; i <= 4; i++) CHECK_OK(dpt_history_add(&h, DPT_PANEL_SHARES, "accuracy", i, 0.25 * i));
    CHECK_OK(dpt_history_add(&h, DPT_PANEL_LR, "lr", 0, 0.1));
    if (!CHECK_OK(dpt_picture_curves(&h, &svg))) return;
    /* x from 70 to 590 over steps 0 to 4, y from 170 to 28 over shares 0 to 1 */
    CHECK(strstr(svg, "points=\"70.00,170.00 200.00,134.50 330.00,99.00 460.00,63.50 590.00,28.00 \"") != NULL);
    CHECK(strstr(svg, ">metrics<") != NULL && strstr(svg, ">learning rate<") != NULL && strstr(svg, ">loss<") == NULL);
    dpt_free(svg);
    /* four decades: each as high as the others */
    for (int i = 0; i <= 4; i++) CHECK_OK(dpt_history_add(&h, DPT_PANEL_LOSS, "training", i, pow(10, -i)));
    if (!CHECK_OK(dpt_picture_curves(&h, &svg))) return;
    CHECK(strstr(svg, "points=\"70.00,28.00 200.00,63.50 330.00,99.00 460.00,134.50 590.00,170.00 \"") != NULL);
    dpt_free(svg);
    dpt_history_clear(&h);
    /* values that differ in the last bit: an axis from them to half more, with ticks */
    for (int i = 0; i <= 1; i++) CHECK_OK(dpt_history_add(&h, DPT_PANEL_LOSS, "test", i, i ? nextafter(1, 2) : 1));
    if (!CHECK_OK(dpt_picture_curves(&h, &svg))) return;
    CHECK(strstr(svg, "points=\"70.00,170.00 590.00,170.00 \"") != NULL);
    dpt_free(svg);
    dpt_history_clear(&h);
    CHECK_OK(dpt_picture_curves(&h, &svg)); /* nothing yet: a picture without panels */
    CHECK(strstr(svg, "</svg>") != NULL);
    dpt_free(svg);
}

static void confusion(void) {
    const int64_t counts[4] = {3, 1, 0, 0};
    char *svg = NULL;
    if (!CHECK_OK(dpt_picture_confusion(counts, 2, &svg))) return;
    CHECK(strstr(svg,
                 "fill=\"rgb(87,135,189)\"/><text x=\"92.00\" y=\"66.00\" text-anchor=\"middle\" "
                 "fill=\"white\">3</text>") != NULL); /* 3 of 4 */
    CHECK(strstr(svg, "fill=\"black\">1</text>") != NULL);
    dpt_free(svg);
    CHECK_OK(dpt_picture_confusion(counts, DPT_PICTURE_CLASSES + 1, &svg));
    CHECK(svg == NULL);
}

/* Bars stand where the values are: -1 to 1 over 520 pixels, the highest over the panel's 142. */
static void histograms(void) {
    char *svg = NULL;
    dpt_picture_histogram h[2] = {{.title = "a<b>&\001\xff", .first = -2, .width = 0.5, .bins = 4, .bin = {1, 0, 4, 2}},
                                  {.title = "huge", .first = -1, .width = 0x1p1023, .bins = 2, .bin = {1, 1}}};
    if (!CHECK_OK(dpt_picture_histograms(h, 2, &svg))) return;
    CHECK(strstr(svg, ">a&lt;b>&amp;?" "?</text>") != NULL);
    CHECK(strstr(svg, "<rect x=\"70.00\" y=\"134.50\" width=\"129.50\" height=\"35.50\"") != NULL);
    CHECK(strstr(svg, "<rect x=\"330.00\" y=\"28.00\" width=\"129.50\" height=\"142.00\"") != NULL);
    CHECK(strstr(svg, "<rect x=\"200.00\"") == NULL && strstr(svg, "nan") == NULL && strstr(svg, "inf") == NULL);
    dpt_free(svg);
    CHECK_OK(dpt_picture_histograms(NULL, 0, &svg));
    CHECK(strstr(svg, "</svg>") != NULL);
    dpt_free(svg);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "results", {"early_stop", early_stop}, {"history", history}, {"curves", curves},
                      {"confusion", confusion}, {"histograms", histograms});
}
