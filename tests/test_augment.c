/* Augmentation and mixup: each change by its formula, pixel by pixel; what is drawn depends on seed, epoch and sample
 * (or step) alone: the same batches for any ranks, threads, slots and restarts. Ranks are played by one process. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/random.h"
#include "data/augment.h"
#include "data/loader.h"
#include "data/mixup.h"
#include "data/sampler.h"
#include "data_files.h"

enum {
    ROWS = 53,
    CHANNELS = 3,
    HEIGHT = 5,
    WIDTH = 6,
    PIXELS = HEIGHT * WIDTH,
    VALUES = CHANNELS * PIXELS,
    SAMPLES = 64
};

static dpt_control control;
static dpt_dataset *data; /* fields: x (u8 as f32, images), y (i32 as i64), z (f64 as f64, two numbers) */

static uint8_t pixel(uint64_t row, int e) { return (uint8_t)(row * 37 + (uint64_t)e * 11 + 1); }

static void start(void) {
    static uint8_t x[ROWS * VALUES];
    static int32_t y[ROWS];
    static double z[ROWS * 2];
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    for (uint64_t row = 0; row < ROWS; row++) {
        y[row] = (int32_t)row % 10;
        z[2 * row] = (double)row;
        z[2 * row + 1] = -(double)row;
        for (int e = 0; e < VALUES; e++) x[row * VALUES + (uint64_t)e] = pixel(row, e);
    }
    hid_t file = file_create("images.h5");
    file_add(file, "x", H5T_STD_U8LE, DPT_U8, x, 4, (hsize_t[]){ROWS, CHANNELS, HEIGHT, WIDTH}, STORE_PLAIN);
    file_add(file, "z", H5T_IEEE_F64LE, DPT_F64, z, 2, (hsize_t[]){ROWS, 2}, STORE_PLAIN);
    file_add(file, "y", H5T_STD_I32LE, DPT_I32, y, 1, (hsize_t[]){ROWS}, STORE_PLAIN);
    H5Fclose(file);
    const char *path = file_path("images.h5");
    CHECK_OK(dpt_dataset_open(
        &control, &path, 1,
        (dpt_field_spec[]){{.name = "x", .path = "x", .dtype = DPT_F32, .ndim = 3, .dim = {CHANNELS, HEIGHT, WIDTH}},
                           {.name = "z", .path = "z", .dtype = DPT_F64, .ndim = 1, .dim = {2}},
                           {.name = "y", .path = "y", .dtype = DPT_I64, .ndim = 0}},
        3, &data));
}

static void stop(void) {
    dpt_dataset_close(&data);
    dpt_control_close(&control);
}

/* ---- one image ---- */

static const double means[CHANNELS] = {0.4, 0.5, 0.25}, stds[CHANNELS] = {0.2, 0.5, 0.3};
static const dpt_normalise normalise = {.scale = 1.0 / 255, .channels = CHANNELS, .mean = means, .std = stds};

static const dpt_normalise none = {.scale = 0};

static float normal(double value, int c) { return (float)((value - means[c]) / stds[c]); }

static void make_image(uint64_t sample, float *image) {
    for (int e = 0; e < VALUES; e++) image[e] = normal(pixel(sample, e) / 255.0, e / PIXELS);
}

/* How many of SAMPLES images `change` explains; each value within 1e-5. */
typedef void (*change_fn)(uint64_t sample, const dpt_random4 *quad, const float *in, float *out);
static int explained(dpt_augment_options o, change_fn change) {
    dpt_augmenter *a;
    float in[VALUES], out[VALUES], wanted[VALUES];
    int right = 0;
    if (!CHECK_OK(dpt_augmenter_create(dpt_dataset_field(data, 0), &normalise, &o, 9, &a))) return -1;
    uint64_t key = dpt_random_key("augment", 9);
    for (uint64_t sample = 0; sample < SAMPLES; sample++) {
        dpt_random4 quad[3];
        for (uint32_t q = 0; q < 3; q++) quad[q] = dpt_philox(key, q, (uint32_t)sample, 0, 4);
        make_image(sample, in);
        dpt_augmenter_apply(a, 4, sample, in, out);
        change(sample, quad, in, wanted);
        int wrong = 0;
        for (int e = 0; e < VALUES; e++) wrong += !(fabsf(out[e] - wanted[e]) <= 1e-5F * (1 + fabsf(wanted[e])));
        right += wrong == 0;
    }
    dpt_augmenter_destroy(&a);
    return right;
}

#define EACH(c, i, j)                    \
    for (int c = 0; c < CHANNELS; c++)   \
        for (int i = 0; i < HEIGHT; i++) \
            for (int j = 0; j < WIDTH; j++)
#define AT(x, c, i, j) (x)[((c)*HEIGHT + (i)) * WIDTH + (j)]

static void flipped(uint64_t sample, const dpt_random4 *quad, const float *in, float *out) {
    (void)sample;
    bool h = quad[0].v[0] >= 0x80000000U, v = quad[0].v[1] >= 0x80000000U;
    EACH(c, i, j) AT(out, c, i, j) = AT(in, c, v ? HEIGHT - 1 - i : i, h ? WIDTH - 1 - j : j);
}

static void flipped_sideways(uint64_t sample, const dpt_random4 *quad, const float *in, float *out) {
    (void)sample;
    EACH(c, i, j) AT(out, c, i, j) = AT(in, c, i, quad[0].v[0] >> 31 ? WIDTH - 1 - j : j);
}

static int crop_pad;
static int offset(uint32_t word) { return (int)((double)word / 4294967296.0 * (2 * crop_pad + 1)) - crop_pad; }

/* The padded image written out, then its window. */
static void cropped(uint64_t sample, const dpt_random4 *quad, const float *in, float *out) {
    (void)sample;
    int dy = offset(quad[0].v[2]), dx = offset(quad[0].v[3]);
    EACH(c, i, j) {
        int row = i + dy, column = j + dx;
        bool inside = row >= 0 && row < HEIGHT && column >= 0 && column < WIDTH;
        AT(out, c, i, j) = inside ? AT(in, c, row, column) : normal(0, c); /* a stored 0 */
    }
}

/* NumPy's pad(mode="reflect") of 3: indices 3 2 1 | 0 1 2 ... n-1 | n-2 n-3 n-4; then a flip of the window. */
static void reflected(uint64_t sample, const dpt_random4 *quad, const float *in, float *out) {
    static const int rows[HEIGHT + 6] = {3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1};
    static const int columns[WIDTH + 6] = {3, 2, 1, 0, 1, 2, 3, 4, 5, 4, 3, 2};
    (void)sample;
    int dy = offset(quad[0].v[2]), dx = offset(quad[0].v[3]);
    bool h = quad[0].v[0] >> 31, v = quad[0].v[1] >> 31;
    EACH(c, i, j)
    AT(out, c, i, j) = AT(in, c, rows[(v ? HEIGHT - 1 - i : i) + dy + 3], columns[(h ? WIDTH - 1 - j : j) + dx + 3]);
}

static void cut_out(uint64_t sample, const dpt_random4 *quad, const float *in, float *out) {
    (void)sample;
    int row = (int)((double)quad[1].v[0] / 4294967296.0 * HEIGHT),
        column = (int)((double)quad[1].v[1] / 4294967296.0 * WIDTH);
    EACH(c, i, j) {
        bool hidden = i >= row - 1 && i <= row + 1 && j >= column - 1 && j <= column + 1;
        AT(out, c, i, j) = hidden ? 0 : AT(in, c, i, j);
    }
}

static double drawn_factor(uint32_t word, double s) { return 1 - s + 2 * s * (word >> 8) / 16777216.0; }
static double grey(const double *u, int p) { return 0.299 * u[p] + 0.587 * u[PIXELS + p] + 0.114 * u[2 * PIXELS + p]; }

static void coloured(uint64_t sample, const dpt_random4 *quad, const float *in, float *out) {
    double u[VALUES], mean = 0, f[3];
    (void)in;
    for (int k = 0; k < 3; k++) f[k] = drawn_factor(quad[2].v[k], 0.2 * (k + 1));
    for (int e = 0; e < VALUES; e++) u[e] = f[0] * pixel(sample, e) / 255.0;
    for (int p = 0; p < PIXELS; p++) mean += grey(u, p) / PIXELS;
    for (int e = 0; e < VALUES; e++) u[e] = f[1] * u[e] + (1 - f[1]) * mean;
    for (int e = 0; e < VALUES; e++) out[e] = normal(f[2] * u[e] + (1 - f[2]) * grey(u, e % PIXELS), e / PIXELS);
}

static void changes(void) {
    CHECK_EQ_I64(explained((dpt_augment_options){.flip_horizontal = true, .flip_vertical = true}, flipped), SAMPLES);
    CHECK_EQ_I64(explained((dpt_augment_options){.flip_horizontal = true}, flipped_sideways), SAMPLES);
    crop_pad = 2;
    CHECK_EQ_I64(explained((dpt_augment_options){.crop = 2}, cropped), SAMPLES);
    crop_pad = 9; /* the window may leave the image */
    CHECK_EQ_I64(explained((dpt_augment_options){.crop = 9}, cropped), SAMPLES);
    crop_pad = 3;
    dpt_augment_options all = {.crop = 3, .reflect = true, .flip_horizontal = true, .flip_vertical = true};
    CHECK_EQ_I64(explained(all, reflected), SAMPLES);
    CHECK_EQ_I64(explained((dpt_augment_options){.cutout = 3}, cut_out), SAMPLES);
    dpt_augment_options colour = {.brightness = 0.2, .contrast = 0.4, .saturation = 0.6};
    CHECK_EQ_I64(explained(colour, coloured), SAMPLES);
    CHECK(!dpt_augment_any(&(dpt_augment_options){.reflect = true}));
}

static void refused(void) {
    dpt_augmenter *a;
    dpt_field field = *dpt_dataset_field(data, 0);
    dpt_augment_options o = {.crop = 5, .reflect = true};
    CHECK_FAILS(dpt_augmenter_create(&field, NULL, &o, 0, &a), DPT_ERR_CONFIG, "less than the image's 5 x 6 pixels");
    CHECK(a == NULL);
    o = (dpt_augment_options){.cutout = 6};
    CHECK_FAILS(dpt_augmenter_create(&field, NULL, &o, 0, &a), DPT_ERR_CONFIG, "augment.cutout=6");
    field.dim[0] = 1;
    o = (dpt_augment_options){.saturation = 0.1};
    CHECK_FAILS(dpt_augmenter_create(&field, NULL, &o, 0, &a), DPT_ERR_CONFIG, "samples of \"x\" have 1");
    field.ndim = 2;
    o = (dpt_augment_options){.flip_vertical = true};
    CHECK_FAILS(dpt_augmenter_create(&field, NULL, &o, 0, &a), DPT_ERR_CONFIG, "\"x\" have 2 dimensions");
}

/* ---- batches ---- */

static dpt_augment_options everything(void) {
    return (dpt_augment_options){
        .flip_horizontal = true, .crop = 2, .cutout = 2, .brightness = 0.3, .contrast = 0.3, .saturation = 0.3};
}

/* The digest of two epochs' batches as all ranks together see them; epoch: of that one only, -1: of both. */
static uint64_t digest_of(int world, int threads, const dpt_augment_options *augment, double mixup, uint64_t seed,
                          int epoch) {
    static float x[2 * ROWS * VALUES], lambda[2 * ROWS];
    static double z[2 * ROWS * 2];
    static int64_t partner[2 * ROWS];
    for (int rank = 0; rank < world; rank++) {
        dpt_loader_options o;
        dpt_loader_options_init(&o);
        o.global_batch = 12, o.shuffle = true, o.seed = seed, o.epochs = 2, o.slots = 3;
        o.rank = rank, o.world = world, o.threads = threads, o.augment = augment, o.mixup = mixup;
        o.normalise = (dpt_normalise[]){normalise, none, none};
        dpt_loader *loader;
        if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return 0;
        for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader)) {
            size_t row = b->epoch * ROWS + b->step * 12 + (size_t)b->first_row, n = (size_t)b->rows;
            if (!CHECK_EQ_I64(b->arrays, mixup > 0 ? 5 : 3)) return 0;
            memcpy(x + row * VALUES, b->array[0].data, n * VALUES * sizeof *x);
            memcpy(z + row * 2, b->array[1].data, n * 2 * sizeof *z);
            if (b->arrays > 3) memcpy(partner + row, b->array[3].data, n * sizeof *partner);
            if (b->arrays > 3) memcpy(lambda + row, b->array[4].data, n * sizeof *lambda);
        }
        dpt_loader_destroy(&loader);
    }
    size_t from = epoch > 0 ? ROWS : 0, n = epoch < 0 ? 2 * ROWS : ROWS;
    uint64_t h = dpt_hash(x + from * VALUES, n * VALUES * sizeof *x, 0);
    h = dpt_hash(z + from * 2, n * 2 * sizeof *z, h);
    h = dpt_hash(partner + from, n * sizeof *partner, h);
    return dpt_hash(lambda + from, n * sizeof *lambda, h);
}

static void same_for_all_ranks_and_threads(void) {
    dpt_augment_options o = everything();
    uint64_t one = digest_of(1, 0, &o, 0.4, 5, -1);
    CHECK(digest_of(2, 1, &o, 0.4, 5, -1) == one);
    CHECK(digest_of(4, 3, &o, 0.4, 5, -1) == one);
    CHECK(digest_of(7, 2, &o, 0.4, 5, -1) == one);
    CHECK(digest_of(1, 0, &o, 0.4, 6, -1) != one);
    CHECK(digest_of(1, 0, &o, 0, 5, -1) != digest_of(1, 0, NULL, 0, 5, -1));
}

/* A sample is changed as its own number and epoch say, wherever it stands; after a restart too. */
static void by_sample(void) {
    dpt_augment_options augment = everything();
    dpt_augmenter *a;
    if (!CHECK_OK(dpt_augmenter_create(dpt_dataset_field(data, 0), &normalise, &augment, 3, &a))) return;
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = 8, o.shuffle = true, o.seed = 3, o.epochs = 3, o.first_epoch = 1, o.first_step = 2;
    o.augment = &augment, o.normalise = (dpt_normalise[]){normalise, none, none};
    dpt_loader *loader;
    float image[VALUES], wanted[VALUES], other[VALUES];
    int wrong = 0, same = 0, seen = 0;
    if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader))
        for (int64_t r = 0; r < b->rows; r++, seen++) {
            make_image(b->sample[r], image);
            dpt_augmenter_apply(a, b->epoch, b->sample[r], image, wanted);
            dpt_augmenter_apply(a, b->epoch + 1, b->sample[r], image, other);
            const float *x = (const float *)b->array[0].data + r * VALUES;
            for (int e = 0; e < VALUES; e++) wrong += !(fabsf(x[e] - wanted[e]) <= 1e-5F);
            same += memcmp(wanted, other, sizeof wanted) == 0;
        }
    CHECK_EQ_I64(seen, 2 * ROWS - 16);
    CHECK_EQ_I64(wrong, 0);
    CHECK_EQ_I64(same, 0); /* epochs differ */
    dpt_loader_destroy(&loader);
    dpt_augmenter_destroy(&a);
}

static void mixes(void) {
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = 12, o.rank = 1, o.world = 3, o.shuffle = true, o.seed = 8, o.epochs = 1, o.mixup = 1;
    dpt_order order = dpt_order_create(ROWS, 8);
    dpt_augment_options augment = everything();
    dpt_augmenter *a;
    float image[VALUES], one[VALUES], two[VALUES];
    o.augment = &augment, o.normalise = (dpt_normalise[]){normalise, none, none};
    if (!CHECK_OK(dpt_augmenter_create(dpt_dataset_field(data, 0), &normalise, &augment, 8, &a))) return;
    dpt_loader *loader;
    int wrong = 0;
    if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader)) {
        dpt_mixup m = dpt_mixup_draw(1, 8, 0, b->step, b->global_rows);
        CHECK(b->global_rows == 1 || (m.distance >= 1 && m.distance < b->global_rows));
        CHECK_EQ_TEXT(b->array[3].name, "y_partner");
        CHECK_EQ_TEXT(b->array[4].name, "lambda");
        CHECK_EQ_I64(b->array[4].rows, b->rows);
        for (int64_t r = 0; r < b->rows; r++) {
            uint64_t place = b->step * 12 + (uint64_t)((b->first_row + r + m.distance) % b->global_rows);
            uint64_t partner = dpt_order_exact(&order, 0, place), own = b->sample[r];
            const float *x = (const float *)b->array[0].data + r * VALUES;
            const double *z = (const double *)b->array[1].data + r * 2;
            double l = (double)m.lambda;
            make_image(own, image);
            dpt_augmenter_apply(a, 0, own, image, one);
            make_image(partner, image);
            dpt_augmenter_apply(a, 0, partner, image, two);
            for (int e = 0; e < VALUES; e++)
                wrong += !(fabsf(x[e] - (m.lambda * one[e] + (1 - m.lambda) * two[e])) < 1e-4F);
            wrong += !(fabs(z[0] - (l * (double)own + (1 - l) * (double)partner)) < 1e-9);
            wrong += ((const int64_t *)b->array[2].data)[r] != (int64_t)own % 10;
            wrong += ((const int64_t *)b->array[3].data)[r] != (int64_t)partner % 10;
            wrong += !(((const float *)b->array[4].data)[r] == m.lambda);
        }
    }
    CHECK_EQ_I64(wrong, 0);
    dpt_loader_destroy(&loader);
    dpt_augmenter_destroy(&a);
    o.mixup = -1;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "mixup with alpha -1");
}

/* Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)); within six standard errors of 20,000 draws. */
static void beta(void) {
    const double alphas[] = {0.2, 1, 4};
    for (int k = 0; k < 3; k++) {
        double sum = 0, square = 0, fourth = 0;
        const int n = 20000;
        for (int i = 0; i < n; i++) {
            double d = (double)dpt_mixup_draw(alphas[k], 1, 0, (uint64_t)i, 8).lambda - 0.5;
            sum += d, square += d * d, fourth += d * d * d * d;
        }
        double variance = 1 / (4 * (2 * alphas[k] + 1)), error = sqrt((fourth / n - variance * variance) / n);
        CHECK(fabs(sum / n) < 6 * sqrt(variance / n));
        CHECK(fabs(square / n - variance) < 6 * error);
    }
}

/* What a crop adds went through all that a stored 0 goes through: here log(max(0, 1/4) + 1), less the mean, over std.
 */
static void added_zeros(void) {
    dpt_normalise n = normalise;
    const dpt_augment_options o = {.crop = 2};
    dpt_augmenter *a;
    float in[VALUES], out[VALUES];
    n.clips = n.logs = true, n.low = 0.25, n.high = 1, n.offset = 1;
    if (!CHECK_OK(dpt_augmenter_create(dpt_dataset_field(data, 0), &n, &o, 9, &a))) return;
    for (int e = 0; e < VALUES; e++) in[e] = 1000;
    int wrong = 0, added = 0;
    for (uint64_t sample = 0; sample < 20; sample++) {
        dpt_augmenter_apply(a, 4, sample, in, out);
        for (int e = 0; e < VALUES; e++) {
            if (out[e] == 1000) continue;
            added++;
            wrong += !(fabsf(out[e] - normal(log(1.25), e / PIXELS)) < 1e-6F);
        }
    }
    CHECK(wrong == 0 && added > 100);
    dpt_augmenter_destroy(&a);
    n.clips = false, n.offset = 0;
    CHECK_FAILS(dpt_augmenter_create(dpt_dataset_field(data, 0), &n, &o, 9, &a), DPT_ERR_CONFIG,
                "stored zeros, which have no logarithm");
    CHECK(a == NULL);
    const dpt_normalise classes = {.one_hot = 4};
    CHECK_FAILS(dpt_augmenter_create(dpt_dataset_field(data, 0), &classes, &o, 9, &a), DPT_ERR_CONFIG, "are one-hot");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "augment", {"start", start}, {"changes", changes}, {"refused", refused},
                      {"added_zeros", added_zeros}, {"same_for_all_ranks_and_threads", same_for_all_ranks_and_threads},
                      {"by_sample", by_sample}, {"mixes", mixes}, {"beta", beta}, {"stop", stop});
}
