/* image.c: which decoder, and what both share: limits and room for pixels. */
#include "data/image.h"

#include <string.h>

#include "base/memory.h"

static bool is_png(const uint8_t *bytes, size_t size) {
    return size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}
static bool is_jpeg(const uint8_t *bytes, size_t size) { return size >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0; }

bool dpt_image_is(const uint8_t *bytes, size_t size) { return is_png(bytes, size) || is_jpeg(bytes, size); }

static dpt_status decode(const char *name, const uint8_t *bytes, size_t size, bool pixels, dpt_image *image) {
    if (is_png(bytes, size)) return dpt_image_decode_png(name, bytes, size, pixels, image);
    if (is_jpeg(bytes, size)) return dpt_image_decode_jpeg(name, bytes, size, pixels, image);
    DPT_CHECK(size > 0, DPT_ERR_DATA, "%s: empty", name);
    return dpt_error(DPT_ERR_DATA, "%s: begins neither as a PNG nor as a JPEG", name);
}

dpt_status dpt_image_measure(const char *name, const uint8_t *bytes, size_t size, dpt_image *image) {
    return decode(name, bytes, size, false, image);
}

dpt_status dpt_image_decode(const char *name, const uint8_t *bytes, size_t size, dpt_image *image) {
    return decode(name, bytes, size, true, image);
}

dpt_status dpt_image_start(const char *name, dpt_image *image, int64_t height, int64_t width, int channels,
                           int pixel_bytes) {
    DPT_CHECK(height > 0 && width > 0, DPT_ERR_DATA, "%s: %lld x %lld pixels", name, (long long)height,
              (long long)width);
    DPT_CHECK(height <= DPT_IMAGE_MAX_SIDE && width <= DPT_IMAGE_MAX_SIDE && height * width <= DPT_IMAGE_MAX_PIXELS,
              DPT_ERR_UNSUPPORTED, "%s: %lld x %lld pixels; at most %d a side and %d in all are read", name,
              (long long)height, (long long)width, DPT_IMAGE_MAX_SIDE, DPT_IMAGE_MAX_PIXELS);
    size_t bytes = (size_t)(height * width) * (size_t)pixel_bytes;
    if (bytes > image->room) {
        dpt_free(image->pixel);
        image->room = 0;
        image->pixel = dpt_alloc(bytes);
        DPT_CHECK_ALLOC(image->pixel);
        image->room = bytes;
    }
    image->height = height;
    image->width = width;
    image->channels = channels;
    return DPT_OK;
}

void dpt_image_close(dpt_image *image) {
    dpt_free(image->pixel);
    *image = (dpt_image){0};
}
