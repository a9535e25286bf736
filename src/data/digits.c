/* digits.c: a 5x7 font, drawn through a random affine map with soft edges, plus noise. Only + - * / and comparisons of
 * doubles on Philox's numbers, so that every machine makes the same bytes; each image is a function of its number. */
#include "data/digits.h"

#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "data/hdf5_output.h"

enum { SIDE = DPT_DIGITS_SIDE, PIXELS = SIDE * SIDE, GLYPH_WIDTH = 5, GLYPH_HEIGHT = 7, ROWS_AT_ONCE = 1000 };

static const uint64_t SET_SEED = 1;

/* A row of a digit is five bits, the leftmost highest. */
static const uint8_t font[10][GLYPH_HEIGHT] = {
    {0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E}, {0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E},
    {0x0E, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1F}, {0x1F, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0E},
    {0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02}, {0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E},
    {0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E}, {0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08},
    {0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E}, {0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C},
};

typedef struct drawing {
    int digit;
    double shift_x, shift_y; /* pixels */
    double width, height;    /* pixels a font cell */
    double slant;            /* cells to the right a cell upward */
    double ink, noise;       /* grey levels */
} drawing;

static double between(uint32_t bits, double low, double high) {
    return low + (high - low) * (double)dpt_uniform_f32(bits);
}

static drawing choose(uint64_t key, uint64_t index) {
    dpt_random4 a = dpt_random_quad(key, 0, index, 0), b = dpt_random_quad(key, 1, index, 0);
    return (drawing){.digit = (int)(((uint64_t)a.v[0] * 10) >> 32),
                     .shift_x = between(a.v[1], -4, 4),
                     .shift_y = between(a.v[2], -3, 3),
                     .width = between(a.v[3], 2.2, 3.4),
                     .height = between(b.v[0], 2.2, 3.2),
                     .slant = between(b.v[1], -0.25, 0.35),
                     .ink = between(b.v[2], 140, 255),
                     .noise = between(b.v[3], 10, 70)};
}

static double cell(int digit, int column, int row) {
    if (column < 0 || column >= GLYPH_WIDTH || row < 0 || row >= GLYPH_HEIGHT) return 0;
    return (font[digit][row] >> (GLYPH_WIDTH - 1 - column)) & 1;
}

/* The largest integer not above v, for |v| < 1000. */
static int round_down(double v) { return (int)(v + 1000) - 1000; }

/* Ink at a place in cells, interpolated between the centres of cells. */
static double ink_at(int digit, double column, double row) {
    int c = round_down(column), r = round_down(row);
    double right = column - c, down = row - r;
    double upper = cell(digit, c, r) * (1 - right) + cell(digit, c + 1, r) * right;
    double lower = cell(digit, c, r + 1) * (1 - right) + cell(digit, c + 1, r + 1) * right;
    double ink = (upper * (1 - down) + lower * down - 0.2) * 2; /* strokes as wide as a cell, with soft edges */
    return ink < 0 ? 0 : ink > 1 ? 1 : ink;
}

static uint8_t draw(uint64_t key, uint64_t index, uint8_t *pixel) {
    drawing d = choose(key, index);
    for (int i = 0; i < PIXELS; i += 4) {
        dpt_random4 noise = dpt_random_quad(key, (uint32_t)(2 + i / 4), index, 0);
        for (int k = 0; k < 4; k++) {
            double x = (i + k) % SIDE - (SIDE - 1) / 2.0 - d.shift_x;
            double y = (double)((i + k) / SIDE) - (SIDE - 1) / 2.0 - d.shift_y;
            double row = y / d.height, column = x / d.width + d.slant * row;
            double v = d.ink * ink_at(d.digit, column + (GLYPH_WIDTH - 1) / 2.0, row + (GLYPH_HEIGHT - 1) / 2.0);
            v += between(noise.v[k], -d.noise, d.noise);
            pixel[i + k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
    return (uint8_t)d.digit;
}

static uint64_t split_key(const char *split) {
    return dpt_random_key(strcmp(split, "test") == 0 ? "digits/test" : "digits/train", SET_SEED);
}

uint8_t dpt_digits_draw(const char *split, uint64_t index, uint8_t *pixel) {
    return draw(split_key(split), index, pixel);
}

/* Fills all labels, and the images to the file as they come. */
static dpt_status write_images(dpt_hdf5_output *out, const char *split, int64_t rows, uint8_t *pixel, uint8_t *label) {
    uint64_t key = split_key(split);
    for (int64_t first = 0; first < rows; first += ROWS_AT_ONCE) {
        int64_t n = rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE;
        for (int64_t i = 0; i < n; i++) label[first + i] = draw(key, (uint64_t)(first + i), pixel + i * PIXELS);
        DPT_TRY(dpt_hdf5_output_rows(out, first, n, pixel));
    }
    return DPT_OK;
}

static dpt_status write_split(dpt_hdf5_output *out, const char *split, int64_t rows) {
    uint8_t *pixel = dpt_alloc((size_t)ROWS_AT_ONCE * PIXELS), *label = dpt_alloc((size_t)rows);
    char *x = dpt_format("/%s/x", split), *y = dpt_format("/%s/y", split);
    dpt_status status = pixel && label && x && y ? DPT_OK : DPT_ERR_MEMORY;
    if (status != DPT_OK) goto fail;
    DPT_TRY_GOTO(dpt_hdf5_output_dataset(out, x, DPT_U8, 4, (int64_t[]){rows, 1, SIDE, SIDE}), fail);
    DPT_TRY_GOTO(write_images(out, split, rows, pixel, label), fail);
    DPT_TRY_GOTO(dpt_hdf5_output_dataset(out, y, DPT_U8, 1, &rows), fail);
    DPT_TRY_GOTO(dpt_hdf5_output_rows(out, 0, rows, label), fail);
fail:
    dpt_free(pixel);
    dpt_free(label);
    dpt_free(x);
    dpt_free(y);
    return status;
}

static dpt_status write_splits(dpt_hdf5_output *out, const void *unused) {
    (void)unused;
    DPT_TRY(write_split(out, "train", DPT_DIGITS_TRAIN));
    return write_split(out, "test", DPT_DIGITS_TEST);
}

dpt_status dpt_digits_write(const char *target) { return dpt_hdf5_output_once(target, write_splits, NULL); }
