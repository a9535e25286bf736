/* import_input.c: see import_input.h. zlib passes plain files through, straight into the caller's memory where pieces
 * are large. A stream without its end is an error: zlib alone would take it for a shorter one. */
#include "data/import_input.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { PIECE_BYTES = 1 << 20 };

dpt_status dpt_import_input_open(dpt_import_input *input, const char *path) {
    errno = 0;
    *input = (dpt_import_input){.path = path, .file = gzopen(path, "rb")};
    DPT_CHECK(input->file != NULL, DPT_ERR_IO, "%s: %s", path, errno ? strerror(errno) : "out of memory");
    return DPT_OK;
}

dpt_status dpt_import_input_read(dpt_import_input *input, void *out, int64_t bytes, int64_t *got) {
    *got = 0;
    while (*got < bytes) {
        int64_t left = bytes - *got;
        int n = gzread(input->file, (char *)out + *got, left < PIECE_BYTES ? (unsigned)left : PIECE_BYTES);
        int code;
        const char *reason = gzerror(input->file, &code);
        if (n > 0) *got += n;
        if (code == Z_BUF_ERROR)
            return dpt_error(DPT_ERR_DATA, "%s: truncated: the compressed stream ends early", input->path);
        if (code == Z_ERRNO) return dpt_error(DPT_ERR_IO, "%s: %s", input->path, strerror(errno));
        DPT_CHECK(n >= 0 && code == Z_OK, DPT_ERR_DATA, "%s: damaged: %s", input->path, reason);
        if (n == 0) break;
    }
    return DPT_OK;
}

dpt_status dpt_import_input_seek(dpt_import_input *input, int64_t byte) {
    errno = 0;
    DPT_CHECK(gzseek(input->file, (z_off_t)byte, SEEK_SET) == (z_off_t)byte, DPT_ERR_IO, "%s: byte %lld: %s",
              input->path, (long long)byte, errno ? strerror(errno) : "cannot be gone to");
    return DPT_OK;
}

bool dpt_import_input_is_packed(dpt_import_input *input) { return !gzdirect(input->file); }

void dpt_import_input_close(dpt_import_input *input) {
    if (input->file) gzclose_r(input->file);
    input->file = NULL;
}
