/* image_jpeg.c: JPEG by libjpeg: gray, YCbCr or RGB, baseline or progressive.
 *
 * Invariant: libjpeg is called only from a step, and a step only by run_step, which is where its errors jump to. A step
 * holds nothing that would need to be released. */
#include <setjmp.h>
#include <stdio.h>

/* after stdio.h, which it does not include */
#include <jerror.h>
#include <jpeglib.h>

#include "data/image.h"

enum {
    MAX_SCANS = 100,        /* of a progressive file; usual are 10. Each one costs a pass over the image */
    PIXELS_PER_BYTE = 8192, /* one bit for each block of 8 x 8, and fewer blocks where all channels are subsampled */
};
static const long memory_bytes = 1L << 31; /* a progressive file's coefficients */

typedef struct jpeg_job {
    const char *name;
    const uint8_t *bytes;
    size_t size;
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr error;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    dpt_image *image;
    dpt_status status;
    char reason[JMSG_LENGTH_MAX];
} jpeg_job;

static dpt_status status_of(int code) {
    switch (code) {
        case JERR_OUT_OF_MEMORY: return DPT_ERR_MEMORY;
        case JERR_BAD_PRECISION:
        case JERR_COMPONENT_COUNT:
        case JERR_CONVERSION_NOTIMPL:
        case JERR_IMAGE_TOO_BIG:
        case JERR_NO_BACKING_STORE:
        case JERR_SOF_UNSUPPORTED: return DPT_ERR_UNSUPPORTED;
        default: return DPT_ERR_DATA;
    }
}

static void on_error(j_common_ptr common) {
    jpeg_job *job = common->client_data;
    job->status = status_of(common->err->msg_code);
    common->err->format_message(common, job->reason);
    longjmp(job->jump, 1);
}

/* Levels below 0 are data that do not fit; what stays then is made up. Harmless are those about marks of writers. */
static void on_message(j_common_ptr common, int level) {
    const int code = common->err->msg_code;
    if (level < 0 && code != JWRN_ADOBE_XFORM && code != JWRN_BOGUS_ICC) on_error(common);
}

static void on_progress(j_common_ptr common) {
    jpeg_job *job = common->client_data;
    if (job->jpeg.input_scan_number <= MAX_SCANS) return;
    job->status = DPT_ERR_UNSUPPORTED;
    snprintf(job->reason, sizeof job->reason, "more than %d scans", MAX_SCANS);
    longjmp(job->jump, 1);
}

static void read_head(jpeg_job *job) {
    jpeg_create_decompress(&job->jpeg);
    job->jpeg.mem->max_memory_to_use = memory_bytes;
    jpeg_mem_src(&job->jpeg, job->bytes, (unsigned long)job->size);
    jpeg_read_header(&job->jpeg, TRUE);
}

static void read_pixels(jpeg_job *job) {
    const dpt_image *image = job->image;
    job->jpeg.out_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    job->jpeg.dct_method = JDCT_ISLOW;
    job->progress.progress_monitor = on_progress;
    job->jpeg.progress = &job->progress;
    jpeg_start_decompress(&job->jpeg);
    while (job->jpeg.output_scanline < job->jpeg.output_height) {
        JSAMPROW row = image->pixel + job->jpeg.output_scanline * (size_t)image->width * (size_t)image->channels;
        jpeg_read_scanlines(&job->jpeg, &row, 1);
    }
    jpeg_finish_decompress(&job->jpeg);
}

static dpt_status run_step(jpeg_job *job, void (*step)(jpeg_job *)) {
    if (setjmp(job->jump) == 0) {
        step(job);
        return DPT_OK;
    }
    const char *what = job->status == DPT_ERR_DATA ? "broken JPEG" : "JPEG";
    return dpt_error(job->status, "%s: %s: %s", job->name, what, job->reason);
}

static dpt_status start_image(jpeg_job *job, bool pixels) {
    const struct jpeg_decompress_struct *jpeg = &job->jpeg;
    const int64_t height = jpeg->image_height, width = jpeg->image_width;
    const bool gray = jpeg->jpeg_color_space == JCS_GRAYSCALE;
    DPT_CHECK(gray || jpeg->jpeg_color_space == JCS_YCbCr || jpeg->jpeg_color_space == JCS_RGB, DPT_ERR_UNSUPPORTED,
              "%s: a JPEG of %d channels that is neither gray nor RGB (mogrify -colorspace sRGB converts it)",
              job->name, jpeg->num_components);
    DPT_CHECK(!pixels || jpeg->arith_code || height * width / PIXELS_PER_BYTE <= (int64_t)job->size, DPT_ERR_DATA,
              "%s: broken JPEG: %lld x %lld pixels cannot come from %zu bytes", job->name, (long long)height,
              (long long)width, job->size);
    const int channels = gray ? 1 : 3;
    return dpt_image_start(job->name, job->image, height, width, channels, pixels ? channels : 0);
}

static dpt_status decode(jpeg_job *job, bool pixels) {
    DPT_TRY(run_step(job, read_head));
    DPT_TRY(start_image(job, pixels));
    return pixels ? run_step(job, read_pixels) : DPT_OK;
}

dpt_status dpt_image_decode_jpeg(const char *name, const uint8_t *bytes, size_t size, bool pixels, dpt_image *image) {
    jpeg_job job = {.name = name, .bytes = bytes, .size = size, .image = image};
    job.jpeg.err = jpeg_std_error(&job.error);
    job.jpeg.client_data = &job;
    job.error.error_exit = on_error;
    job.error.emit_message = on_message;
    dpt_status status = decode(&job, pixels);
    jpeg_destroy_decompress(&job.jpeg);
    return status;
}
