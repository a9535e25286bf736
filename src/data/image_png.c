/* image_png.c: PNG by libpng: gray, palette or RGB, with or without alpha, interlaced or not, 1 to 8 bits.
 *
 * Invariant: libpng is called only from a step, and a step only by run_step, which is where libpng's errors jump to. A
 * step holds nothing that would need to be released. */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "data/image.h"

enum {
    CHUNK_BYTES = 1 << 23, /* that libpng may take for one chunk other than pixels */
    CHUNKS_KEPT = 16,
    DEFLATE_RATIO = 1032 /* no deflate stream grows more than that */
};

typedef struct png_job {
    const char *name;
    const uint8_t *bytes;
    size_t size, at;
    png_structp png;
    png_infop info;
    dpt_image *image;
    int pixel_bytes; /* with alpha */
    bool out_of_memory;
    char reason[200];
} png_job;

static void on_error(png_structp png, png_const_charp reason) {
    png_job *job = png_get_error_ptr(png);
    snprintf(job->reason, sizeof job->reason, "%s", reason);
    png_longjmp(png, 1);
}

/* Of chunks that are not read here, most of all. */
static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void *allocate(png_structp png, png_alloc_size_t bytes) {
    void *p = dpt_alloc(bytes);
    if (p == NULL) ((png_job *)png_get_mem_ptr(png))->out_of_memory = true;
    return p;
}

static void release(png_structp png, void *p) {
    (void)png;
    dpt_free(p);
}

static void take(png_structp png, png_bytep out, size_t bytes) {
    png_job *job = png_get_io_ptr(png);
    if (job->size - job->at < bytes) png_error(png, "the file ends early");
    memcpy(out, job->bytes + job->at, bytes);
    job->at += bytes;
}

static void read_head(png_job *job) {
    static const png_byte unused[] =
        "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0zTXt";
    png_set_read_fn(job->png, job, take);
    png_set_user_limits(job->png, DPT_IMAGE_MAX_SIDE, DPT_IMAGE_MAX_SIDE);
    png_set_chunk_cache_max(job->png, CHUNKS_KEPT);
    png_set_chunk_malloc_max(job->png, CHUNK_BYTES);
    png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, unused, (int)(sizeof unused / 5));
    png_read_info(job->png, job->info);
}

static void read_pixels(png_job *job) {
    const dpt_image *image = job->image;
    const size_t row_bytes = (size_t)image->width * (size_t)job->pixel_bytes;
    png_set_expand(job->png); /* palettes to RGB, 1 to 4 bits to 8, a transparent colour to alpha */
    const int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    if (png_get_rowbytes(job->png, job->info) != row_bytes) png_error(job->png, "rows of another size than declared");
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < image->height; y++) png_read_row(job->png, image->pixel + (size_t)y * row_bytes, NULL);
    png_read_end(job->png, NULL);
}

static dpt_status run_step(png_job *job, void (*step)(png_job *)) {
    if (setjmp(png_jmpbuf(job->png)) == 0) {
        step(job);
        return DPT_OK;
    }
    if (job->out_of_memory) return dpt_error_prefix(DPT_ERR_MEMORY, "%s: ", job->name);
    return dpt_error(DPT_ERR_DATA, "%s: broken PNG: %s", job->name, job->reason);
}

static dpt_status start_image(png_job *job, bool pixels) {
    const int type = png_get_color_type(job->png, job->info);
    const int64_t height = png_get_image_height(job->png, job->info);
    const int64_t width = png_get_image_width(job->png, job->info);
    const int channels = type & PNG_COLOR_MASK_COLOR ? 3 : 1;
    const bool alpha = type & PNG_COLOR_MASK_ALPHA || png_get_valid(job->png, job->info, PNG_INFO_tRNS);
    DPT_CHECK(png_get_bit_depth(job->png, job->info) <= 8, DPT_ERR_UNSUPPORTED,
              "%s: a PNG of 16 bits a channel; 8 are read (mogrify -depth 8 converts it)", job->name);
    job->pixel_bytes = channels + alpha;
    if (!pixels) return dpt_image_start(job->name, job->image, height, width, channels, 0);
    /* a palette holds up to 8 pixels a byte */
    DPT_CHECK(height * width / 8 / DEFLATE_RATIO <= (int64_t)job->size, DPT_ERR_DATA,
              "%s: broken PNG: %lld x %lld pixels cannot come from %zu bytes", job->name, (long long)height,
              (long long)width, job->size);
    return dpt_image_start(job->name, job->image, height, width, channels, job->pixel_bytes);
}

/* [height, width, channels + 1] to [height, width, channels], in place. */
static dpt_status drop_alpha(const png_job *job) {
    const dpt_image *image = job->image;
    const int channels = image->channels;
    const int64_t pixels = image->height * image->width;
    uint8_t *to = image->pixel;
    const uint8_t *from = image->pixel;
    for (int64_t i = 0; i < pixels; i++, from += channels + 1) {
        DPT_CHECK(from[channels] == 255, DPT_ERR_UNSUPPORTED,
                  "%s: transparent (row %lld, column %lld has alpha %d of 255): flatten it over a background first, as "
                  "mogrify -background white -alpha remove -alpha off does",
                  job->name, (long long)(i / image->width), (long long)(i % image->width), from[channels]);
        for (int c = 0; c < channels; c++) *to++ = from[c];
    }
    return DPT_OK;
}

static dpt_status decode(png_job *job, bool pixels) {
    DPT_TRY(run_step(job, read_head));
    DPT_TRY(start_image(job, pixels));
    if (!pixels) return DPT_OK;
    DPT_TRY(run_step(job, read_pixels));
    return job->pixel_bytes > job->image->channels ? drop_alpha(job) : DPT_OK;
}

dpt_status dpt_image_decode_png(const char *name, const uint8_t *bytes, size_t size, bool pixels, dpt_image *image) {
    png_job job = {.name = name, .bytes = bytes, .size = size, .image = image};
    job.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning, &job, allocate, release);
    if (job.png != NULL) job.info = png_create_info_struct(job.png);
    dpt_status status = DPT_OK;
    if (job.info != NULL)
        status = decode(&job, pixels);
    else if (job.out_of_memory)
        status = DPT_ERR_MEMORY;
    else
        status = dpt_error(DPT_ERR_INTERNAL, "%s: libpng %s does not start", name, png_get_libpng_ver(NULL));
    png_destroy_read_struct(&job.png, &job.info, NULL);
    return status;
}
