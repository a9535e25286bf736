/* Images: every kind of PNG against the pixels it was made of, JPEG against libjpeg's own decoding; what is damaged,
 * cut short, too large or of another kind; other sizes by formula. */
#include "data/image.h"

#include "base/memory.h"
#include "check.h"
#include "image_files.h"

enum { H = 13, W = 11 };

static image_bytes file;

/* The decoder sees a copy of exactly this size, so that a sanitizer sees what it reads beyond. */
static dpt_status decode(const uint8_t *bytes, size_t size, dpt_image *image) {
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    dpt_status status = dpt_image_decode("x.image", copy, size, image);
    free(copy);
    return status;
}

/* Sample i of a packed row of PNG. */
static int packed(const uint8_t *row, int depth, int i) {
    return row[i * depth / 8] >> (8 - depth - i * depth % 8) & ((1 << depth) - 1);
}

static int expected_sample(png_kind kind, const uint8_t *row, int x, int c) {
    const int samples = png_samples(kind.type);
    if (kind.type == PNG_COLOR_TYPE_PALETTE) {
        const png_color entry = png_entry(packed(row, kind.depth, x));
        return c == 0 ? entry.red : c == 1 ? entry.green : entry.blue;
    }
    return packed(row, kind.depth, x * samples + c) * 255 / ((1 << kind.depth) - 1);
}

static void check_png(png_kind kind, dpt_image *image) {
    uint8_t rows[H * W * 4];
    const int samples = png_samples(kind.type), row_bytes = (W * samples * kind.depth + 7) / 8;
    for (int i = 0; i < H * row_bytes; i++) rows[i] = (uint8_t)(i * i * 3 + i * 7);
    for (int i = samples - 1; i < H * W * samples && samples % 2 == 0; i += samples) rows[i] = 255;
    png_write(&file, kind, H, W, rows);
    if (!CHECK_OK(decode(file.at, file.size, image))) return;
    const int channels = kind.type & PNG_COLOR_MASK_COLOR ? 3 : 1;
    CHECK(image->height == H && image->width == W && image->channels == channels);
    int wrong = 0;
    for (int i = 0; i < H * W * channels; i++)
        wrong += image->pixel[i] !=
                 expected_sample(kind, rows + i / channels / W * row_bytes, i / channels % W, i % channels);
    check_that(wrong == 0, __FILE__, __LINE__, "type %d, %d bits%s: %d values differ", kind.type, kind.depth,
               kind.interlaced ? ", interlaced" : "", wrong);
}

static void png_kinds(void) {
    static const png_kind kind[] = {
        {.type = PNG_COLOR_TYPE_GRAY, .depth = 8},       {.type = PNG_COLOR_TYPE_GRAY, .depth = 4},
        {.type = PNG_COLOR_TYPE_GRAY, .depth = 2},       {.type = PNG_COLOR_TYPE_GRAY, .depth = 1},
        {.type = PNG_COLOR_TYPE_RGB, .depth = 8},        {.type = PNG_COLOR_TYPE_PALETTE, .depth = 8},
        {.type = PNG_COLOR_TYPE_PALETTE, .depth = 4},    {.type = PNG_COLOR_TYPE_PALETTE, .depth = 2},
        {.type = PNG_COLOR_TYPE_PALETTE, .depth = 1},    {.type = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 8},
        {.type = PNG_COLOR_TYPE_GRAY_ALPHA, .depth = 8},
    };
    dpt_image image = {0};
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++)
        for (int interlaced = 0; interlaced < 2; interlaced++) {
            png_kind k = kind[i];
            k.interlaced = interlaced;
            check_png(k, &image);
        }
    dpt_image_close(&image);
}

static void png_refused(void) {
    dpt_image image = {0};
    uint8_t rows[H * W * 8];
    fill_rgb(1, H, W, 8, rows);
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_RGB, .depth = 16}, H, W, rows);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_UNSUPPORTED, "x.image: a PNG of 16 bits a channel");
    memset(rows, 255, sizeof rows);
    rows[(2 * W + 5) * 4 + 3] = 12;
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 8}, H, W, rows);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_UNSUPPORTED,
                "x.image: transparent (row 2, column 5 has alpha 12 of 255): flatten it");
    rows[0] = 3; /* the only pixel of that colour */
    for (int type = PNG_COLOR_TYPE_GRAY; type <= PNG_COLOR_TYPE_RGB; type += PNG_COLOR_TYPE_RGB) {
        png_write(&file, (png_kind){.type = type, .depth = 8, .transparent_colour = true}, H, W, rows);
        CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_UNSUPPORTED, "row 0, column 0 has alpha 0");
    }
    memset(rows, 1, sizeof rows);
    rows[W + 1] = 0;
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_PALETTE, .depth = 8, .transparent_colour = true}, H, W, rows);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_UNSUPPORTED, "row 1, column 1 has alpha 7");
    rows[W + 1] = 1; /* a transparent entry that no pixel has */
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_PALETTE, .depth = 8, .transparent_colour = true}, H, W, rows);
    CHECK_OK(decode(file.at, file.size, &image));
    dpt_image_close(&image);
}

static void put_u32(uint8_t *to, uint32_t v) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Writes the size into IHDR, and its checksum. */
static void png_declare(uint32_t height, uint32_t width) {
    put_u32(file.at + 16, width);
    put_u32(file.at + 20, height);
    uint32_t crc = 0xffffffffU;
    for (int i = 12; i < 29; i++) {
        crc ^= file.at[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
    }
    put_u32(file.at + 29, ~crc);
}

static void png_sizes(void) {
    dpt_image image = {0};
    uint8_t rows[H * W] = {0};
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_GRAY, .depth = 8}, H, W, rows);
    png_declare(H, W);
    CHECK_OK(decode(file.at, file.size, &image));
    const int64_t before = dpt_alloc_count();
    png_declare(60000, 60000);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_DATA, "60000 x 60000 pixels cannot come from");
    CHECK_FAILS(dpt_image_measure("big.png", file.at, file.size, &image), DPT_ERR_UNSUPPORTED,
                "big.png: 60000 x 60000 pixels; at most 65536 a side and 268435456 in all");
    png_declare(1, 65537);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_DATA, "x.image: broken PNG: ");
    png_declare(0, 5);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_DATA, "x.image: broken PNG: ");
    png_declare(0x80000000U, 5);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_DATA, "x.image: broken PNG: ");
    png_declare(16384, 1);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_DATA, "x.image: broken PNG: ");
    CHECK(image.room < 20000 && dpt_alloc_count() > before);
    dpt_image_close(&image);
}

static void jpeg_kinds(void) {
    dpt_image image = {0};
    enum { SIDE = 29 };
    uint8_t pixel[SIDE * SIDE * 3], bare[SIDE * SIDE * 3];
    for (int i = 0; i < 4; i++) {
        const int channels = i % 2 ? 3 : 1;
        smooth(SIDE, SIDE, channels, pixel);
        jpeg_write(&file, (jpeg_kind){channels == 3 ? JCS_RGB : JCS_GRAYSCALE, i >= 2, 95}, SIDE, SIDE, pixel);
        decode_bare(&file, bare);
        if (!CHECK_OK(decode(file.at, file.size, &image))) continue;
        CHECK(image.height == SIDE && image.width == SIDE && image.channels == channels);
        int most = 0, from_source = 0;
        for (int k = 0; k < SIDE * SIDE * channels; k++) {
            const int d = abs(image.pixel[k] - bare[k]), e = abs(image.pixel[k] - pixel[k]);
            most = d > most ? d : most;
            from_source = e > from_source ? e : from_source;
        }
        check_that(most <= 1 && from_source <= 12, __FILE__, __LINE__, "%d from libjpeg, %d from the source", most,
                   from_source);
    }
    memset(pixel, 60, sizeof pixel);
    jpeg_write(&file, (jpeg_kind){JCS_CMYK, false, 90}, 8, 8, pixel);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_UNSUPPORTED, "x.image: a JPEG of 4 channels");
    dpt_image_close(&image);
}

/* Position of the frame header: height, width stand 5 and 7 bytes behind its mark. */
static size_t frame_at(void) {
    size_t at = 2;
    while (at + 4 < file.size && (file.at[at + 1] & 0xfe) != 0xc0)
        at += 2U + (size_t)(file.at[at + 2] << 8 | file.at[at + 3]);
    return at;
}

static void jpeg_sizes(void) {
    dpt_image image = {0};
    uint8_t pixel[H * W];
    smooth(H, W, 1, pixel);
    jpeg_write(&file, (jpeg_kind){JCS_GRAYSCALE, false, 90}, H, W, pixel);
    const size_t at = frame_at();
    put_u32(file.at + at + 5, 60000U << 16 | 60000U);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_DATA, "60000 x 60000 pixels cannot come from");
    put_u32(file.at + at + 5, 65535U << 16 | 65535U);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_UNSUPPORTED, "x.image: JPEG: ");
    put_u32(file.at + at + 5, 400U << 16 | W);
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_DATA, "x.image: broken JPEG: ");
    put_u32(file.at + at + 5, (uint32_t)H << 16 | W);
    file.at[at + 4] = 12;
    CHECK_FAILS(decode(file.at, file.size, &image), DPT_ERR_UNSUPPORTED,
                "x.image: JPEG: Unsupported JPEG data precision");
    dpt_image_close(&image);
}

static void cut_everywhere(void) {
    dpt_image image = {0};
    int wrong = 0;
    for (size_t size = 0; size < file.size; size++) {
        dpt_status status = decode(file.at, size, &image);
        wrong += status != DPT_ERR_DATA || strncmp(dpt_last_error(), "x.image: ", 9) != 0;
    }
    CHECK_EQ_I64(wrong, 0);
    CHECK_OK(decode(file.at, file.size, &image));
    dpt_image_close(&image);
}

static void truncations(void) {
    uint8_t pixel[H * W * 3];
    fill_rgb(3, H, W, 3, pixel);
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_RGB, .depth = 8}, H, W, pixel);
    cut_everywhere();
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_PALETTE, .depth = 4, .interlaced = true}, H, W, pixel);
    cut_everywhere();
    jpeg_write(&file, (jpeg_kind){JCS_RGB, false, 90}, H, W, pixel);
    cut_everywhere();
    jpeg_write(&file, (jpeg_kind){JCS_RGB, true, 90}, H, W, pixel);
    cut_everywhere();
}

/* Any changed bit of a PNG's chunks is one that a checksum sees. */
static void flipped_bits(void) {
    dpt_image image = {0};
    uint8_t pixel[H * W];
    fill_rgb(5, H, W, 1, pixel);
    png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_GRAY, .depth = 8}, H, W, pixel);
    int passed = 0;
    for (size_t at = 0; at < file.size; at++) {
        file.at[at] ^= (uint8_t)(1 << at % 8);
        passed += decode(file.at, file.size, &image) == DPT_OK;
        file.at[at] ^= (uint8_t)(1 << at % 8);
    }
    CHECK_EQ_I64(passed, 0);
    dpt_image_close(&image);
}

/* The definition in real numbers: the mean over what an output covers, or the line between two neighbours. */
static double along(const double *in, int n, int m, int i) {
    if (m > n) {
        double at = (i + 0.5) * n / m - 0.5;
        at = at < 0 ? 0 : at > n - 1 ? n - 1 : at;
        const int low = (int)floor(at), high = low + 1 < n ? low + 1 : low;
        return in[low] + (at - low) * (in[high] - in[low]);
    }
    const double from = (double)i * n / m, to = (double)(i + 1) * n / m;
    double sum = 0;
    for (int j = 0; j < n; j++) {
        const double low = j > from ? j : from, high = j + 1 < to ? j + 1 : to;
        if (high > low) sum += in[j] * (high - low);
    }
    return sum / (to - from);
}

static double resized_at(const uint8_t *pixel, int c, int height, int width, int y, int x) {
    double line[H] = {0}, row[W];
    for (int j = 0; j < H; j++) {
        for (int k = 0; k < W; k++) row[k] = pixel[(j * W + k) * 3 + c];
        line[j] = along(row, W, width, x);
    }
    return along(line, H, height, y);
}

static void resizes(void) {
    static const int size[][2] = {{H, W}, {1, 1}, {5, 4}, {H, 3}, {40, 33}, {7, 24}, {26, 22}, {12, 12}};
    uint8_t pixel[H * W * 3], out[3 * 40 * 40];
    fill_rgb(9, H, W, 3, pixel);
    const dpt_image image = {H, W, 3, pixel, sizeof pixel};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        const int height = size[i][0], width = size[i][1];
        double most = 0;
        CHECK_OK(dpt_image_resize(&image, height, width, out));
        for (int k = 0; k < 3 * height * width; k++) {
            const double e =
                resized_at(pixel, k / height / width, height, width, k / width % height, k % width) - out[k];
            most = fabs(e) > most ? fabs(e) : most;
        }
        check_that(most <= 0.5 + 1e-9, __FILE__, __LINE__, "to %d x %d: off by %g", height, width, most);
    }
    memset(pixel, 255, sizeof pixel);
    CHECK_OK(dpt_image_resize(&image, 40, 9, out));
    int wrong = 0;
    for (int k = 0; k < 3 * 40 * 9; k++) wrong += out[k] != 255;
    CHECK_EQ_I64(wrong, 0);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "image", {"png_kinds", png_kinds}, {"png_refused", png_refused},
                      {"png_sizes", png_sizes}, {"jpeg_kinds", jpeg_kinds}, {"jpeg_sizes", jpeg_sizes},
                      {"truncations", truncations}, {"flipped_bits", flipped_bits}, {"resizes", resizes});
}
