/* image.h: PNG and JPEG as pixels: gray or RGB, 8 bits a channel, by libpng and libjpeg. The bytes come from anywhere:
 * sizes are limited before memory is taken, an error of a decoder comes back as a status, and what a decoder would only
 * warn of (data that end early, bad codes) is an error too: no half-read image looks like a whole one.
 *
 *   dpt_image image = {0};
 *   DPT_TRY(dpt_image_decode(name, bytes, size, &image));
 *   ... dpt_image_close(&image);
 *
 * name is for messages. What decoders leave out: EXIF orientation, colour profiles, gamma. */
#ifndef DPT_DATA_IMAGE_H
#define DPT_DATA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { DPT_IMAGE_MAX_SIDE = 65536, DPT_IMAGE_MAX_PIXELS = 1 << 28 };

typedef struct dpt_image {
    int64_t height, width;
    int channels;   /* 1: gray, 3: RGB */
    uint8_t *pixel; /* [height, width, channels] */
    size_t room;    /* bytes at pixel, kept for the next image */
} dpt_image;

/* Whether the bytes begin as a PNG or a JPEG does. Local. */
bool dpt_image_is(const uint8_t *bytes, size_t size);
/* Height, width and channels; the bytes may be the first part of a file. Local. Errors as dpt_image_decode, without
 * those of pixels; DPT_ERR_DATA also where the part is too small. */
dpt_status dpt_image_measure(const char *name, const uint8_t *bytes, size_t size, dpt_image *image);
/* The pixels too. An alpha channel is left out where all of it is opaque. Local.
 * DPT_ERR_DATA: neither PNG nor JPEG, damaged, or it ends early. DPT_ERR_UNSUPPORTED: 16 bits a channel, transparent
 * pixels (the first is named), CMYK, more than DPT_IMAGE_MAX_SIDE a side or DPT_IMAGE_MAX_PIXELS. */
dpt_status dpt_image_decode(const char *name, const uint8_t *bytes, size_t size, dpt_image *image);
void dpt_image_close(dpt_image *image);

/* The image in another size, as planes: out [channels, height, width]. Along an axis that shrinks an output is the mean
 * of what it covers, along one that grows it lies between its two neighbours; rounded once. Local.
 * DPT_ERR_MEMORY. */
dpt_status dpt_image_resize(const dpt_image *image, int64_t height, int64_t width, uint8_t *out);

/* For the decoders. pixels false: measure. */
dpt_status dpt_image_decode_png(const char *name, const uint8_t *bytes, size_t size, bool pixels, dpt_image *image);
dpt_status dpt_image_decode_jpeg(const char *name, const uint8_t *bytes, size_t size, bool pixels, dpt_image *image);
/* Checks and keeps the size, and makes room for so many bytes a pixel; 0: none. */
dpt_status dpt_image_start(const char *name, dpt_image *image, int64_t height, int64_t width, int channels,
                           int pixel_bytes);

#endif
