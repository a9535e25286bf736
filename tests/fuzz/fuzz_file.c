/* fuzz_file.c: what targets share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "fuzz.h"

enum { ROW_BYTES_MAX = 1 << 24, ROWS_MAX = 1 << 17 };

static void need(int holds, const char *what) {
    if (holds) return;
    perror(what);
    exit(70);
}

void fuzz_add_seed(fuzz_seeds *seeds, const void *bytes, size_t size) {
    need(seeds->count < FUZZ_SEEDS_MAX && size <= FUZZ_BYTES_MAX, "a seed too many or too large");
    uint8_t *copy = malloc(size);
    need(copy != NULL, "malloc");
    memcpy(copy, bytes, size);
    seeds->size[seeds->count] = size;
    seeds->bytes[seeds->count++] = copy;
}

void fuzz_add_file(fuzz_seeds *seeds, const char *path) {
    static uint8_t bytes[FUZZ_BYTES_MAX];
    FILE *f = fopen(path, "rb");
    need(f != NULL, path);
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    fuzz_add_seed(seeds, bytes, size);
}

static char input[] = "/tmp/dptrain-fuzz-XXXXXX";
static int input_file = -1;
static pid_t owner;

static void remove_input(void) {
    if (getpid() == owner) unlink(input); /* not each child that ends */
}

/* HDF5 wants a real name, so it is none in memory alone. */
const char *fuzz_file(const uint8_t *bytes, size_t size) {
    if (input_file < 0) {
        owner = getpid();
        input_file = mkstemp(input);
        need(input_file >= 0 && atexit(remove_input) == 0, input);
    }
    need(pwrite(input_file, bytes, size, 0) == (ssize_t)size && ftruncate(input_file, (off_t)size) == 0, input);
    return input;
}

static dpt_status read_rows(dpt_import_stream *stream) {
    int64_t rows = 0, got = 1;
    if (stream->row_bytes > ROW_BYTES_MAX) return DPT_OK;
    int64_t at_once = stream->row_bytes > 0 ? (1 << 16) / stream->row_bytes : 1;
    if (at_once < 1) at_once = 1;
    char *out =
        malloc((size_t)(at_once * stream->row_bytes) + 1); /* no more: a sanitizer sees what is written beyond */
    need(out != NULL, "malloc");
    dpt_status status = DPT_OK;
    for (; status == DPT_OK && got > 0 && rows < ROWS_MAX; rows += got)
        status = stream->read(stream, at_once, out, &got);
    free(out);
    if (status == DPT_OK && rows < ROWS_MAX && rows != stream->dim[0]) {
        fprintf(stderr, "%lld rows came of %lld\n", (long long)rows, (long long)stream->dim[0]);
        abort();
    }
    return status;
}

dpt_status fuzz_read_stream(dpt_status (*open)(const dpt_import_source *, dpt_import_stream *), const char *part,
                            const uint8_t *bytes, size_t size) {
    const dpt_import_source source = {.dataset = "/x", .file = fuzz_file(bytes, size), .part = part};
    dpt_import_stream stream;
    DPT_TRY(open(&source, &stream));
    dpt_status status = read_rows(&stream);
    stream.close(&stream);
    return status;
}
