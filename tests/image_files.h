/* image_files.h: PNG and JPEG in memory, written by libpng and libjpeg themselves, for the tests of images. */
#ifndef DPT_TESTS_IMAGE_FILES_H
#define DPT_TESTS_IMAGE_FILES_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* after stdio.h, which jpeglib.h does not include */
#include <jpeglib.h>
#include <png.h>

typedef struct image_bytes {
    uint8_t at[1 << 16];
    size_t size;
} image_bytes;

/* What a test asks libpng for. Rows are packed as PNG packs them. */
typedef struct png_kind {
    int type, depth;
    bool interlaced, transparent_colour; /* gray or RGB: the colour of the first pixel; palette: entry 0 has alpha 7 */
} png_kind;

static inline int png_samples(int type) {
    return type == PNG_COLOR_TYPE_RGB          ? 3
           : type == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
           : type == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                               : 1;
}

static inline void png_append(png_structp png, png_bytep bytes, size_t size) {
    image_bytes *out = png_get_io_ptr(png);
    if (out->size + size > sizeof out->at) abort();
    memcpy(out->at + out->size, bytes, size);
    out->size += size;
}

/* Entry i of the palettes written here. */
static inline png_color png_entry(int i) {
    return (png_color){(png_byte)(i * 3 + 1), (png_byte)(255 - i), (png_byte)(i * 7)};
}

static inline void png_write(image_bytes *out, png_kind kind, int height, int width, const uint8_t *rows) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    const size_t row_bytes = ((size_t)width * (size_t)(png_samples(kind.type) * kind.depth) + 7) / 8;
    png_bytep row[64];
    png_color palette[256];
    png_color_16 colour = {.red = rows[0], .green = rows[1], .blue = rows[2], .gray = rows[0]};
    if (height > 64) abort();
    for (int y = 0; y < height; y++) row[y] = (png_bytep)(uintptr_t)(rows + (size_t)y * row_bytes);
    out->size = 0;
    png_set_write_fn(png, out, png_append, NULL);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, kind.depth, kind.type,
                 kind.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    for (int i = 0; i < 1 << kind.depth && i < 256; i++) palette[i] = png_entry(i);
    if (kind.type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, kind.depth > 7 ? 256 : 1 << kind.depth);
    if (kind.transparent_colour)
        png_set_tRNS(png, info, (png_byte[]){7}, kind.type == PNG_COLOR_TYPE_PALETTE ? 1 : 0, &colour);
    png_write_info(png, info);
    png_write_image(png, row);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
}

typedef struct jpeg_kind {
    J_COLOR_SPACE space; /* of the pixels: gray, RGB or CMYK */
    bool progressive;
    int quality;
} jpeg_kind;

static inline void jpeg_write(image_bytes *out, jpeg_kind kind, int height, int width, const uint8_t *pixel) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr error;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&error);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &size);
    jpeg.image_height = (JDIMENSION)height;
    jpeg.image_width = (JDIMENSION)width;
    jpeg.in_color_space = kind.space;
    jpeg.input_components = kind.space == JCS_GRAYSCALE ? 1 : kind.space == JCS_RGB ? 3 : 4;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, kind.quality, TRUE);
    if (kind.progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row =
            (JSAMPROW)(uintptr_t)(pixel + (size_t)jpeg.next_scanline * (size_t)(width * jpeg.input_components));
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    if (size > sizeof out->at) abort();
    memcpy(out->at, bytes, size);
    out->size = size;
    free(bytes);
}

/* The pixels of a test: value_at(seed, row, column, channel). */
static inline uint8_t value_at(int seed, int y, int x, int c) {
    return (uint8_t)(seed * 37 + y * 11 + x * 5 + c * 80 + x * y);
}

static inline void fill_rgb(int seed, int height, int width, int channels, uint8_t *pixel) {
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) *pixel++ = value_at(seed, y, x, c);
}

/* As libjpeg itself decodes it, all settings its own. */
static inline void decode_bare(const image_bytes *bytes, uint8_t *pixel) {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr error;
    jpeg.err = jpeg_std_error(&error);
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, bytes->at, (unsigned long)bytes->size);
    jpeg_read_header(&jpeg, TRUE);
    jpeg_start_decompress(&jpeg);
    while (jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = pixel + jpeg.output_scanline * jpeg.output_width * (size_t)jpeg.output_components;
        jpeg_read_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_decompress(&jpeg);
    jpeg_destroy_decompress(&jpeg);
}

/* What JPEG keeps well. */
static inline void smooth(int height, int width, int channels, uint8_t *pixel) {
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) *pixel++ = (uint8_t)(20 + 3 * y + 2 * x + 30 * c);
}

#endif
