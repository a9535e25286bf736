/* picture.c: see picture.h. Coordinates are pixels with two decimals; nothing in a picture depends on the time or the
 * locale, so equal runs give equal pictures. */
#include "cli/picture.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { WIDTH = 720, PANEL = 200, LEFT = 70, RIGHT = 130, TOP = 28, BOTTOM = 30, TICKS = 5 };

static const char *const titles[DPT_PANELS] = {"loss", "metrics", "errors", "learning rate"};
static const char *const colours[] = {"#1f5fa8", "#c8501e", "#2a8a4a", "#7a4fa3", "#806020"};
enum { COLOURS = sizeof colours / sizeof *colours };

/* ---- history ---- */

static dpt_curve *find_curve(dpt_history *h, dpt_panel panel, const char *name) {
    for (int i = 0; i < h->count; i++)
        if (h->curve[i].panel == panel && strcmp(h->curve[i].name, name) == 0) return &h->curve[i];
    if (h->count == DPT_PICTURE_CURVES) return NULL;
    h->curve[h->count] = (dpt_curve){.panel = panel, .name = name, .stride = 1};
    return &h->curve[h->count++];
}

static void thin(dpt_curve *c) {
    c->count /= 2;
    c->stride *= 2;
    for (int64_t i = 0; i < c->count; i++) {
        c->x[i] = c->x[2 * i];
        c->y[i] = c->y[2 * i];
    }
}

dpt_status dpt_history_add(dpt_history *h, dpt_panel panel, const char *name, double x, double y) {
    if (!isfinite(x) || !isfinite(y)) return DPT_OK;
    dpt_curve *c = find_curve(h, panel, name);
    if (c == NULL) return DPT_OK;
    if (c->x == NULL) c->x = dpt_alloc(DPT_PICTURE_POINTS * sizeof *c->x);
    if (c->y == NULL) c->y = dpt_alloc(DPT_PICTURE_POINTS * sizeof *c->y);
    DPT_CHECK_ALLOC(c->x);
    DPT_CHECK_ALLOC(c->y);
    if (c->count == DPT_PICTURE_POINTS) thin(c);
    if (c->seen++ % c->stride != 0) return DPT_OK;
    c->x[c->count] = x;
    c->y[c->count++] = y;
    return DPT_OK;
}

void dpt_history_clear(dpt_history *h) {
    for (int i = 0; i < h->count; i++) {
        dpt_free(h->curve[i].x);
        dpt_free(h->curve[i].y);
    }
    *h = (dpt_history){0};
}

/* ---- curves ---- */

/* An axis: values from low to high on pixels from `from` to `to`. */
typedef struct axis {
    double low, high, from, to;
    bool is_log;
} axis;

static double place(const axis *a, double v) {
    double share = a->is_log ? log(v / a->low) / log(a->high / a->low) : (v - a->low) / (a->high - a->low);
    return a->from + share * (a->to - a->from);
}

static axis axis_of(const dpt_history *h, dpt_panel panel, bool vertical, double from, double to) {
    axis a = {.low = HUGE_VAL, .high = -HUGE_VAL, .from = from, .to = to};
    for (int i = 0; i < h->count; i++) {
        const dpt_curve *c = &h->curve[i];
        if (vertical && c->panel != panel) continue;
        for (int64_t k = 0; k < c->count; k++) {
            double v = vertical ? c->y[k] : c->x[k];
            if (v < a.low) a.low = v;
            if (v > a.high) a.high = v;
        }
    }
    if (!vertical && a.low > 0) a.low = 0;
    /* values that differ by rounding are one: the ticks between them could not be counted */
    const double least = 1e-9 * fmax(fabs(a.low), fabs(a.high));
    if (a.high - a.low <= least) a.high = a.low + (a.low == 0 ? 1 : fabs(a.low) / 2);
    a.is_log = vertical && a.low > 0 && a.high / a.low >= 100;
    return a;
}

/* 1, 2 or 5 times a power of ten, so that about TICKS of them fit. */
static double tick_step(double range) {
    double power = pow(10, floor(log10(range / TICKS))), rest = range / TICKS / power;
    return power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10);
}

static void vertical_tick(FILE *out, const axis *y, double v) {
    double at = place(y, v);
    fprintf(out, "<path d=\"M%d %.2fH%d\" stroke=\"#ddd\"/>", LEFT, at, WIDTH - RIGHT);
    fprintf(out, "<text x=\"%d\" y=\"%.2f\" text-anchor=\"end\">%g</text>\n", LEFT - 6, at + 4, v);
}

static void vertical_ticks(FILE *out, const axis *y) {
    double step = tick_step(y->high - y->low);
    if (y->is_log)
        for (double v = pow(10, ceil(log10(y->low))); v <= y->high; v *= 10) vertical_tick(out, y, v);
    else
        for (double n = ceil(y->low / step); n * step <= y->high + step / 1000; n++) vertical_tick(out, y, n * step);
}

static void horizontal_ticks(FILE *out, const axis *x, double bottom) {
    double step = tick_step(x->high - x->low);
    for (double n = ceil(x->low / step); n * step <= x->high + step / 1000; n++)
        fprintf(out, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\">%.10g</text>\n", place(x, n * step),
                bottom + 16, n * step);
}

static void write_curve(FILE *out, const dpt_curve *c, const axis *x, const axis *y, int number) {
    const char *colour = colours[number % COLOURS];
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
    for (int64_t k = 0; k < c->count; k++) fprintf(out, "%.2f,%.2f ", place(x, c->x[k]), place(y, c->y[k]));
    fputs("\"/>\n", out);
    for (int64_t k = 0; k < c->count && c->count <= 40; k++)
        fprintf(out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"2\" fill=\"%s\"/>", place(x, c->x[k]), place(y, c->y[k]),
                colour);
    fprintf(out, "<text x=\"%d\" y=\"%.2f\" fill=\"%s\">%s %.4g</text>\n", WIDTH - RIGHT + 10, y->to + 14 + 16 * number,
            colour, c->name, c->y[c->count - 1]);
}

static void write_panel(FILE *out, const dpt_history *h, dpt_panel panel, double top) {
    axis x = axis_of(h, panel, false, LEFT, WIDTH - RIGHT);
    axis y = axis_of(h, panel, true, top + PANEL - BOTTOM, top + TOP);
    fprintf(out, "<text x=\"%d\" y=\"%.2f\" font-weight=\"bold\">%s</text>\n", LEFT, top + TOP - 10, titles[panel]);
    vertical_ticks(out, &y);
    horizontal_ticks(out, &x, y.from);
    fprintf(out, "<path d=\"M%d %.2fV%.2fH%d\" fill=\"none\" stroke=\"#555\"/>\n", LEFT, y.to, y.from, WIDTH - RIGHT);
    int number = 0;
    for (int i = 0; i < h->count; i++)
        if (h->curve[i].panel == panel && h->curve[i].count > 0) write_curve(out, &h->curve[i], &x, &y, number++);
}

static bool has_curve(const dpt_history *h, dpt_panel panel) {
    for (int i = 0; i < h->count; i++)
        if (h->curve[i].panel == panel && h->curve[i].count > 0) return true;
    return false;
}

static void begin(FILE *out, int width, int height) {
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
            "height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" "
            "height=\"100%%\" fill=\"white\"/>\n",
            width, height, width, height);
}

/* Ends a picture that is being written into buffer. */
static dpt_status end(FILE *out, char **buffer, char **svg) {
    fputs("</svg>\n", out);
    int failed = fclose(out);
    if (!failed) *svg = dpt_strdup(*buffer);
    free(*buffer);
    DPT_CHECK(*svg != NULL, DPT_ERR_MEMORY, "out of memory: a picture");
    return DPT_OK;
}

dpt_status dpt_picture_curves(const dpt_history *h, char **svg) {
    char *buffer = NULL;
    size_t bytes = 0;
    int panels = 0;
    *svg = NULL;
    for (dpt_panel p = 0; p < DPT_PANELS; p++) panels += has_curve(h, p);
    FILE *out = open_memstream(&buffer, &bytes);
    DPT_CHECK(out != NULL, DPT_ERR_MEMORY, "out of memory: a picture");
    begin(out, WIDTH, panels * PANEL + BOTTOM);
    double top = 0;
    for (dpt_panel p = 0; p < DPT_PANELS; p++) {
        if (!has_curve(h, p)) continue;
        write_panel(out, h, p, top);
        top += PANEL;
    }
    fprintf(out, "<text x=\"%d\" y=\"%.2f\" text-anchor=\"middle\">step</text>\n", (LEFT + WIDTH - RIGHT) / 2,
            top + 12);
    return end(out, &buffer, svg);
}

/* ---- confusion ---- */

/* White to dark blue. */
static void write_cell(FILE *out, double x, double y, double side, double share, int64_t count, bool with_text) {
    int red = (int)(255 - 224 * share), green = (int)(255 - 160 * share), blue = (int)(255 - 87 * share);
    fprintf(out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"rgb(%d,%d,%d)\"/>", x, y, side,
            side, red, green, blue);
    if (with_text && count > 0)
        fprintf(out, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\" fill=\"%s\">%" PRId64 "</text>", x + side / 2,
                y + side / 2 + 4, share > 0.5 ? "white" : "black", count);
    fputc('\n', out);
}

dpt_status dpt_picture_confusion(const int64_t *counts, int64_t classes, char **svg) {
    char *buffer = NULL;
    size_t bytes = 0;
    *svg = NULL;
    if (classes > DPT_PICTURE_CLASSES) return DPT_OK;
    FILE *out = open_memstream(&buffer, &bytes);
    DPT_CHECK(out != NULL, DPT_ERR_MEMORY, "out of memory: a picture");
    bool with_text = classes <= 24;
    double side = with_text ? 44 : 800.0 / (double)classes;
    int size = (int)(side * (double)classes) + LEFT + BOTTOM;
    begin(out, size, size);
    fprintf(out, "<text x=\"%d\" y=\"16\">column: predicted class, row: true class</text>\n", LEFT);
    for (int64_t row = 0; row < classes; row++) {
        int64_t all = 0;
        for (int64_t c = 0; c < classes; c++) all += counts[row * classes + c];
        double at = LEFT - BOTTOM + side * (double)row;
        for (int64_t c = 0; c < classes; c++) {
            int64_t n = counts[row * classes + c];
            write_cell(out, LEFT + side * (double)c, at, side, all > 0 ? (double)n / (double)all : 0, n, with_text);
        }
        if (with_text)
            fprintf(out,
                    "<text x=\"%d\" y=\"%.2f\" text-anchor=\"end\">%" PRId64
                    "</text>"
                    "<text x=\"%.2f\" y=\"%d\" text-anchor=\"middle\">%" PRId64 "</text>\n",
                    LEFT - 6, at + side / 2 + 4, row, LEFT + side * ((double)row + 0.5), LEFT - BOTTOM - 6, row);
    }
    return end(out, &buffer, svg);
}

/* ---- histograms ---- */

/* Text of others: what XML gives a meaning is escaped, what it forbids becomes "?". */
static void write_escaped(FILE *out, const char *text) {
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '<')
            fputs("&lt;", out);
        else if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f)
            fputc('?', out);
        else
            fputc(*text, out);
    }
}

static void write_bars(FILE *out, const dpt_picture_histogram *h, const axis *x, const axis *y) {
    for (int i = 0; i < h->bins; i++) {
        if (h->bin[i] == 0) continue;
        double left = place(x, (h->first + i) * h->width), right = place(x, (h->first + i + 1) * h->width);
        double top = place(y, (double)h->bin[i]);
        fprintf(out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>\n", left, top,
                fmax(right - left - 0.5, 0.5), y->from - top, colours[0]);
    }
}

static void write_histogram(FILE *out, const dpt_picture_histogram *h, double top) {
    axis x = {.low = h->first * h->width, .high = (h->first + h->bins) * h->width, .from = LEFT, .to = WIDTH - RIGHT};
    axis y = {.high = 1, .from = top + PANEL - BOTTOM, .to = top + TOP};
    for (int i = 0; i < h->bins; i++) y.high = fmax(y.high, (double)h->bin[i]);
    fprintf(out, "<text x=\"%d\" y=\"%.2f\" font-weight=\"bold\">", LEFT, top + TOP - 8);
    write_escaped(out, h->title);
    fputs("</text>\n", out);
    if (!isfinite(x.high - x.low)) return; /* no axis is that long */
    vertical_ticks(out, &y);
    write_bars(out, h, &x, &y);
    horizontal_ticks(out, &x, y.from);
    fprintf(out, "<path d=\"M%d %.2fV%.2fH%d\" fill=\"none\" stroke=\"#555\"/>\n", LEFT, y.to, y.from, WIDTH - RIGHT);
}

dpt_status dpt_picture_histograms(const dpt_picture_histogram *panels, int64_t count, char **svg) {
    char *buffer = NULL;
    size_t bytes = 0;
    *svg = NULL;
    DPT_CHECK(count <= INT32_MAX / PANEL - 1, DPT_ERR_UNSUPPORTED, "a picture of %" PRId64 " histograms", count);
    FILE *out = open_memstream(&buffer, &bytes);
    DPT_CHECK(out != NULL, DPT_ERR_MEMORY, "out of memory: a picture");
    begin(out, WIDTH, (int)count * PANEL + BOTTOM);
    for (int64_t i = 0; i < count; i++) write_histogram(out, &panels[i], (double)i * PANEL);
    return end(out, &buffer, svg);
}
