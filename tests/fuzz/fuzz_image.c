/* fuzz_image.c: PNG and JPEG: size, pixels, another size. */
#include <zlib.h>

#include "data/image.h"
#include "fuzz.h"
#include "image_files.h"

enum { SIDE = 9, OUT = 6 };

dpt_status dpt_fuzz_image(const uint8_t *bytes, size_t size) {
    uint8_t out[3 * OUT * OUT];
    dpt_image image = {0}, measured = {0};
    dpt_status status = dpt_image_decode("input", bytes, size, &image);
    if (status == DPT_OK) status = dpt_image_resize(&image, OUT, OUT, out);
    if (status == DPT_OK) status = dpt_image_measure("input", bytes, size, &measured);
    if (status == DPT_OK && (measured.height != image.height || measured.width != image.width)) abort();
    dpt_image_close(&image);
    return status;
}

static uint32_t number_at(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The checksum of each chunk of a PNG: length, type, data, checksum. */
static void mend(uint8_t *bytes, size_t size) {
    if (size < 8 || memcmp(bytes, "\x89PNG", 4) != 0) return;
    for (size_t at = 8; size - at >= 12 && number_at(bytes + at) <= size - at - 12;) {
        const uint32_t length = number_at(bytes + at);
        const uint32_t crc = (uint32_t)crc32(0, bytes + at + 4, length + 4);
        for (int i = 0; i < 4; i++) bytes[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + (size_t)length;
    }
}

static void seed(fuzz_seeds *seeds) {
    static const png_kind png[] = {{.type = PNG_COLOR_TYPE_RGB, .depth = 8},
                                   {.type = PNG_COLOR_TYPE_GRAY, .depth = 2, .interlaced = true},
                                   {.type = PNG_COLOR_TYPE_PALETTE, .depth = 4},
                                   {.type = PNG_COLOR_TYPE_GRAY_ALPHA, .depth = 8},
                                   {.type = PNG_COLOR_TYPE_RGB, .depth = 8, .interlaced = true}};
    static image_bytes file;
    uint8_t pixel[SIDE * SIDE * 3];
    for (int i = 0; i < SIDE * SIDE * 3; i++) pixel[i] = i % 2 ? 255 : (uint8_t)(i * 5);
    for (size_t i = 0; i < sizeof png / sizeof *png; i++) {
        png_write(&file, png[i], SIDE, SIDE, pixel);
        fuzz_add_seed(seeds, file.at, file.size);
    }
    for (int i = 0; i < 4; i++) {
        jpeg_write(&file, (jpeg_kind){i % 2 ? JCS_RGB : JCS_GRAYSCALE, i >= 2, 60}, SIDE, SIDE, pixel);
        fuzz_add_seed(seeds, file.at, file.size);
    }
}

const fuzz_target fuzz_this = {.name = "image", .inputs = 60000, .run = dpt_fuzz_image, .seed = seed, .mend = mend};
