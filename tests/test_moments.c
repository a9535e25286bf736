/* Mean and standard deviation over a part: values of the formula in long double, whatever the storage; the same bits at
 * one rank and at all; transforms before; what cannot be is an error on all ranks. */
#include "data/moments.h"

#include <stdlib.h>

#include "data_files.h"

enum { FIRST = 301, ROWS = FIRST + 220, C = 3, H = 5, W = 7, PLANE = H * W, ALL = C * PLANE, FIELDS = 5 };
enum { IMAGE, BYTES, FAR, SAME, LABEL, STEPS };

static dpt_control control, alone;
static dpt_dataset *data, *of_alone;
static dpt_selection *part;

/* Channels of means and spreads of their own. */
static double image_of(uint64_t sample, int e) {
    uint32_t noise = (uint32_t)(sample * 2654435761u + (uint32_t)e * 40503u);
    noise ^= noise >> 15;
    noise *= 2246822519u;
    noise ^= noise >> 13;
    int c = e / PLANE;
    return (float)((c - 1) * 100 + (double)(noise >> 8) * 0x1p-24 * (c + 1));
}
static double bytes_of(uint64_t sample, int e) { return (double)((sample * 31 + (uint64_t)e * 7) % 256); }
static double far_of(uint64_t sample, int e) { return 1e12 + (double)((sample + (uint64_t)e) % 3); }
static double same_of(uint64_t sample, int e) { return (void)sample, (void)e, 0.1; }
static double label_of(uint64_t sample, int e) { return (void)e, (double)(sample % 4); }

static const struct {
    const char *path;
    double (*value)(uint64_t, int);
    int elements, ndim;
} fields[FIELDS] = {{"image", image_of, ALL, 3},
                    {"bytes", bytes_of, ALL, 3},
                    {"far", far_of, ALL, 3},
                    {"same", same_of, ALL, 3},
                    {"label", label_of, 1, 0}};

/* Samples of 0 to 4 steps of two values. */
static int64_t length_of(uint64_t sample) { return (int64_t)(sample * 3 % 5); }
static float step_of(uint64_t sample, int64_t i) { return (float)sample + (float)i * 0.25f; }

static void add_steps(hid_t file, uint64_t first, uint64_t rows) {
    int64_t *offset = malloc((rows + 1) * sizeof *offset);
    float *step = malloc(rows * 8 * sizeof *step);
    offset[0] = 0;
    for (uint64_t r = 0; r < rows; r++) {
        offset[r + 1] = offset[r] + length_of(first + r);
        for (int64_t i = 0; i < 2 * length_of(first + r); i++) step[2 * offset[r] + i] = step_of(first + r, i);
    }
    const hsize_t all = (hsize_t)offset[rows];
    file_add(file, "offsets", H5T_STD_I64LE, DPT_I64, offset, 1, (hsize_t[]){rows + 1}, STORE_PLAIN);
    file_add(file, "steps", H5T_IEEE_F32LE, DPT_F32, step, 2, (hsize_t[]){all, 2}, STORE_DEFLATE);
    free(offset);
    free(step);
}

static void write_file(const char *name, uint64_t first, uint64_t rows, file_storage storage) {
    hid_t disk[] = {H5T_IEEE_F32BE, H5T_STD_U8LE, H5T_IEEE_F64LE, H5T_IEEE_F64LE, H5T_STD_I32LE};
    hid_t file = file_create(name);
    double *x = malloc(rows * ALL * sizeof *x);
    for (int f = 0; f < FIELDS; f++) {
        for (uint64_t r = 0; r < rows; r++)
            for (int e = 0; e < fields[f].elements; e++)
                x[r * (uint64_t)fields[f].elements + (uint64_t)e] = fields[f].value(first + r, e);
        const hsize_t dim[] = {rows, C, H, W};
        file_add(file, fields[f].path, disk[f], DPT_F64, x, 1 + fields[f].ndim, dim, storage);
    }
    add_steps(file, first, rows);
    free(x);
    H5Fclose(file);
}

static void start(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    CHECK_OK(dpt_control_open(&alone, MPI_COMM_SELF));
    if (check_rank() == 0) {
        write_file("a.h5", 0, FIRST, STORE_ALL_FILTERS);
        write_file("b.h5", FIRST, ROWS - FIRST, STORE_PLAIN);
    }
    files_ready();
    const char *files[] = {file_path("a.h5"), file_path("b.h5")};
    dpt_field_spec specs[FIELDS + 1];
    for (int f = 0; f < FIELDS; f++)
        specs[f] = (dpt_field_spec){.name = fields[f].path,
                                    .path = fields[f].path,
                                    .dtype = f == LABEL ? DPT_I64 : DPT_F32,
                                    .ndim = DPT_ANY_NDIM};
    specs[STEPS] = (dpt_field_spec){
        .name = "steps", .path = "steps", .offsets = "offsets", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM, .pad = 1e30};
    CHECK_OK(dpt_dataset_open(&control, files, 2, specs, FIELDS + 1, &data));
    CHECK_OK(dpt_dataset_open(&alone, files, 2, specs, FIELDS + 1, &of_alone));
    CHECK_OK(dpt_selection_create(ROWS, false, &part));
    for (uint64_t i = 0; i < ROWS; i += i % 3 + 1) dpt_selection_add(part, i, 1);
    CHECK_OK(dpt_selection_seal(part));
}

static void stop(void) {
    dpt_selection_destroy(&part);
    dpt_dataset_close(&data);
    dpt_dataset_close(&of_alone);
    check_nothing_open();
    dpt_control_close(&alone);
    dpt_control_close(&control);
}

/* Of a channel (of `channels`), in two passes of long double. */
static void expect_moments(int field, const dpt_normalise *n, const dpt_selection *selection, int64_t channels,
                           int64_t channel, long double *mean, long double *std) {
    long double sum = 0, squares = 0;
    int64_t count = 0, inner = fields[field].elements / channels;
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 0; i < ROWS; i++)
            for (int64_t e = channel * inner; e < (channel + 1) * inner; e++) {
                if (selection && !dpt_selection_holds(selection, i)) continue;
                long double v = dpt_normalise_value(n, 0, fields[field].value(i, (int)e));
                if (round == 0)
                    sum += v, count++;
                else
                    squares += (v - sum / count) * (v - sum / count);
            }
    *mean = sum / count;
    *std = sqrtl(squares / count);
}

static void values(void) {
    const dpt_normalise plain = {0}, bytes = {.scale = 1.0 / 255}, clipped = {.clips = true, .low = 50, .high = 150},
                        logs = {.scale = 2, .logs = true, .offset = 1};
    const struct {
        int field;
        const dpt_normalise *n;
        int64_t channels;
        double tolerance; /* of the standard deviation, relative */
    } rows[] = {{IMAGE, &plain, 1, 1e-13},   {IMAGE, &plain, C, 1e-12}, {BYTES, &bytes, 1, 1e-13},
                {BYTES, &clipped, C, 1e-13}, {BYTES, &logs, C, 1e-13},  {FAR, &plain, C, 1e-6}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int with = 0; with < 2; with++) {
            double mean[C], std[C], mean_alone[C], std_alone[C];
            const dpt_selection *s = with ? part : NULL;
            if (!CHECK_OK(dpt_moments_find(&control, data, rows[i].field, rows[i].n, s, rows[i].channels, mean, std)))
                return;
            CHECK_OK(dpt_moments_find(&alone, of_alone, rows[i].field, rows[i].n, s, rows[i].channels, mean_alone,
                                      std_alone));
            for (int64_t c = 0; c < rows[i].channels; c++) {
                long double m, d;
                expect_moments(rows[i].field, rows[i].n, s, rows[i].channels, c, &m, &d);
                check_that(
                    fabsl(mean[c] - m) <= 1e-14 * (fabsl(m) + d) * 10 && fabsl(std[c] - d) <= rows[i].tolerance * d,
                    __FILE__, __LINE__, "row %d channel %d: mean %.17g, not %.17Lg; std %.17g, not %.17Lg", (int)i,
                    (int)c, mean[c], m, std[c], d);
                CHECK(memcmp(&mean[c], &mean_alone[c], 8) == 0 && memcmp(&std[c], &std_alone[c], 8) == 0);
            }
        }
}

/* Mean and std of the options are those to be found, not to be used. */
static void own_moments_are_not_used(void) {
    const double five = 5, two = 2;
    const dpt_normalise n = {.channels = 1, .mean = &five, .std = &two};
    double a[2], b[2];
    CHECK_OK(dpt_moments_find(&control, data, IMAGE, &n, NULL, 1, &a[0], &a[1]));
    CHECK_OK(dpt_moments_find(&control, data, IMAGE, NULL, NULL, 1, &b[0], &b[1]));
    CHECK(memcmp(a, b, sizeof a) == 0);
}

/* Equal values: that value itself, and 1. Scalars. */
static void special(void) {
    double mean[C], std[C];
    CHECK_OK(dpt_moments_find(&control, data, SAME, NULL, NULL, C, mean, std));
    for (int c = 0; c < C; c++) CHECK(mean[c] == 0.1 && std[c] == 1);
    CHECK_OK(dpt_moments_find(&control, data, LABEL, NULL, NULL, 1, mean, std));
    long double m, d;
    expect_moments(LABEL, &(dpt_normalise){0}, NULL, 1, 0, &m, &d);
    CHECK_NEAR(mean[0], (double)m, 1e-14);
    CHECK_NEAR(std[0], (double)d, 1e-14);
}

/* What samples of different lengths have, without their padding. */
static void sequences(void) {
    for (int with = 0; with < 2; with++) {
        const dpt_selection *s = with ? part : NULL;
        long double sum = 0, squares = 0;
        int64_t count = 0;
        for (int round = 0; round < 2; round++)
            for (uint64_t i = 0; i < ROWS; i++)
                for (int64_t k = 0; k < 2 * length_of(i) && (!s || dpt_selection_holds(s, i)); k++)
                    if (round == 0)
                        sum += step_of(i, k), count++;
                    else
                        squares += (step_of(i, k) - sum / count) * (step_of(i, k) - sum / count);
        double found[2], of_one[2];
        CHECK_OK(dpt_moments_find(&control, data, STEPS, NULL, s, 1, &found[0], &found[1]));
        CHECK_OK(dpt_moments_find(&alone, of_alone, STEPS, NULL, s, 1, &of_one[0], &of_one[1]));
        CHECK_NEAR(found[0], (double)(sum / count), 1e-14);
        CHECK_NEAR(found[1], (double)sqrtl(squares / count), 1e-13);
        CHECK(memcmp(found, of_one, sizeof found) == 0);
    }
    double mean[4], std[4];
    const dpt_normalise logs = {.logs = true}; /* all steps are above 0; what an empty sample is padded with is not */
    CHECK_OK(dpt_moments_find(&control, data, STEPS, &logs, NULL, 1, mean, std));
    CHECK(mean[0] > 0 && mean[0] < log(ROWS));
    CHECK_FAILS(dpt_moments_find(&control, data, STEPS, NULL, NULL, 4, mean, std), DPT_ERR_ARG,
                "steps: samples of different lengths have no channels");
}

static void faults(void) {
    double mean[H], std[H];
    const dpt_normalise logs = {.logs = true};
    CHECK_FAILS(dpt_moments_find(&control, data, IMAGE, NULL, NULL, 4, mean, std), DPT_ERR_ARG,
                "image: moments of 4 channels of a sample whose first axis has 3");
    CHECK_FAILS(dpt_moments_find(&control, data, IMAGE, NULL, NULL, 0, mean, std), DPT_ERR_ARG, "0 channels");
    CHECK_FAILS(dpt_moments_find(&control, data, LABEL, &logs, NULL, 1, mean, std), DPT_ERR_DATA,
                "label: sample 0 (row 0 of the file), element 0: the value 0 has no logarithm");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "moments", {"start", start}, {"values", values},
                      {"own_moments_are_not_used", own_moments_are_not_used}, {"special", special},
                      {"sequences", sequences}, {"faults", faults}, {"stop", stop});
}
