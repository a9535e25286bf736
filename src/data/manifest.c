/* manifest.c: see manifest.h. */
#include "data/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/content.h"
#include "data/describe.h"

static const char magic[] = "dptrain manifest ";
enum { MAGIC = sizeof magic - 1, CHECKSUM_DIGITS = 16 };
static const size_t MOST_BYTES = 64 << 20; /* of a manifest: about a million files */

bool dpt_manifest_is(const char *path) {
    char head[MAGIC];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe has no reader to wait for */
    if (descriptor < 0) return false;
    bool is = pread(descriptor, head, MAGIC, 0) == MAGIC && memcmp(head, magic, MAGIC) == 0;
    close(descriptor);
    return is;
}

static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash + 1 - path) : 0;
}

/* ---- reading ---- */

/* Digits at *at, up to and past the character `end`. */
static bool take_number(char **at, char end, uint64_t *value) {
    char *stop;
    errno = 0;
    if (**at < '0' || **at > '9') return false;
    *value = strtoull(*at, &stop, 10);
    if (errno != 0 || *stop != end) return false;
    *at = stop + 1;
    return true;
}

static dpt_status add_rows(dpt_manifest_file *file, uint64_t rows) {
    uint64_t *more = dpt_realloc(file->rows, (size_t)file->row_counts + 1, sizeof *more);
    DPT_CHECK_ALLOC(more);
    file->rows = more;
    more[file->row_counts++] = rows;
    return DPT_OK;
}

/* "10000,60000 " or "- ". */
static dpt_status take_rows(char **at, dpt_manifest_file *file) {
    size_t bytes = strcspn(*at, " ");
    char *next = *at, *end = *at + bytes;
    bool none = bytes == 1 && **at == '-', good = *end == ' ' && bytes > 0;
    while (good && !none && next <= end) {
        uint64_t rows = 0;
        char *comma = memchr(next, ',', (size_t)(end - next));
        good = take_number(&next, comma ? ',' : ' ', &rows);
        good = good && (file->row_counts == 0 || rows > file->rows[file->row_counts - 1]);
        if (good) DPT_TRY(add_rows(file, rows));
    }
    DPT_CHECK(good, DPT_ERR_DATA, "\"%.60s\" begins with no numbers of rows such as 10000,60000", *at);
    *at = end + 1;
    return DPT_OK;
}

static dpt_status take_checksum(char **at, uint64_t *value) {
    DPT_CHECK(strspn(*at, "0123456789abcdef") == CHECKSUM_DIGITS && (*at)[CHECKSUM_DIGITS] == ' ', DPT_ERR_DATA,
              "\"%.20s\" is no checksum of 16 digits (0-9, a-f)", *at);
    *value = strtoull(*at, NULL, 16);
    *at += CHECKSUM_DIGITS + 1;
    return DPT_OK;
}

static dpt_status read_line(const char *path, char *text, dpt_manifest_file *file) {
    DPT_TRY(take_rows(&text, file));
    DPT_CHECK(take_number(&text, ' ', &file->bytes), DPT_ERR_DATA, "\"%.20s\" is no number of bytes", text);
    DPT_TRY(take_checksum(&text, &file->checksum));
    DPT_CHECK(*text != 0, DPT_ERR_DATA, "a line without a file's name");
    file->path = text[0] == '/' ? dpt_strdup(text) : dpt_format("%.*s%s", (int)folder_length(path), path, text);
    return file->path ? DPT_OK : DPT_ERR_MEMORY;
}

/* Lines behind the first; *line counts them. */
static dpt_status read_lines(const char *path, char *text, dpt_manifest *m, int64_t *line) {
    uint64_t count;
    for (char *next; *text; text = next) {
        ++*line;
        char *end = strchr(text, '\n');
        DPT_CHECK(end != NULL, DPT_ERR_DATA, "ends within the line");
        *end = 0;
        next = end + 1;
        if (strncmp(text, "end ", 4) == 0) {
            text += 4;
            DPT_CHECK(take_number(&text, 0, &count), DPT_ERR_DATA, "\"%.20s\" is no number of files", text);
            DPT_CHECK(count == (uint64_t)m->count, DPT_ERR_DATA, "lists %" PRId64 " files, but says %" PRIu64, m->count,
                      count);
            DPT_CHECK(*next == 0, DPT_ERR_DATA, "something follows after the end");
            DPT_CHECK(count > 0, DPT_ERR_DATA, "lists no files");
            return DPT_OK;
        }
        DPT_GROW(m->file, m->count, m->capacity);
        m->file[m->count] = (dpt_manifest_file){.line = *line};
        DPT_TRY(read_line(path, text, &m->file[m->count++]));
    }
    ++*line;
    return dpt_error(DPT_ERR_DATA, "is missing: a manifest ends with \"end\" and the number of its files");
}

dpt_status dpt_manifest_read(const char *path, dpt_manifest *m) {
    char *text;
    size_t bytes;
    int64_t line = 1;
    *m = (dpt_manifest){0};
    DPT_TRY(dpt_file_read("manifest", path, DPT_ERR_IO, MOST_BYTES, &text, &bytes));
    char *end = strchr(text, '\n');
    dpt_status status;
    DPT_CHECK_GOTO(strlen(text) == bytes, fail, DPT_ERR_DATA, "holds a zero byte");
    DPT_CHECK_GOTO(strncmp(text, "dptrain manifest 1\n", MAGIC + 2) == 0, fail, DPT_ERR_DATA,
                   "\"%.*s\", where \"dptrain manifest 1\" is read", (int)(end && end - text < 40 ? end - text : 40),
                   text);
    DPT_TRY_GOTO(read_lines(path, end + 1, m, &line), fail);
fail:
    dpt_free(text);
    if (status == DPT_OK) return DPT_OK;
    dpt_manifest_free(m);
    return status == DPT_ERR_MEMORY ? status : dpt_error_prefix(status, "%s: line %" PRId64 ": ", path, line);
}

void dpt_manifest_free(dpt_manifest *m) {
    for (int64_t i = 0; i < m->count; i++) {
        dpt_free(m->file[i].path);
        dpt_free(m->file[i].rows);
    }
    dpt_free(m->file);
    *m = (dpt_manifest){0};
}

/* ---- writing ---- */

static int rising(const void *a, const void *b) {
    int64_t x = ((const dpt_description *)a)->rows, y = ((const dpt_description *)b)->rows;
    return (x > y) - (x < y);
}

dpt_status dpt_manifest_rows(const char *file, uint64_t **rows, int64_t *count) {
    dpt_description *all;
    int64_t datasets;
    *rows = NULL;
    *count = 0;
    DPT_TRY(dpt_describe(file, &all, &datasets));
    qsort(all, (size_t)datasets, sizeof *all, rising);
    dpt_status status = DPT_OK;
    *rows = dpt_alloc((size_t)datasets * sizeof **rows);
    DPT_CHECK_ALLOC_GOTO(*rows, fail);
    for (int64_t i = 0; i < datasets; i++)
        if (all[i].rows >= 0 && (*count == 0 || (uint64_t)all[i].rows > (*rows)[*count - 1]))
            (*rows)[(*count)++] = (uint64_t)all[i].rows;
fail:
    dpt_describe_free(all, datasets);
    return status;
}

static dpt_status print_rows(FILE *out, const char *file) {
    uint64_t *rows;
    int64_t count;
    DPT_TRY(dpt_manifest_rows(file, &rows, &count));
    for (int64_t i = 0; i < count; i++) fprintf(out, i ? ",%" PRIu64 : "%" PRIu64, rows[i]);
    if (count == 0) fputc('-', out);
    dpt_free(rows);
    return DPT_OK;
}

static dpt_status print_file(FILE *out, const char *manifest, const char *file) {
    size_t folder = folder_length(manifest);
    bool below = strncmp(manifest, file, folder) == 0;
    struct stat about;
    uint64_t checksum;
    DPT_CHECK(strchr(file, '\n') == NULL, DPT_ERR_DATA, "%s: a name with a line break cannot stand in a manifest",
              file);
    DPT_TRY(print_rows(out, file));
    DPT_TRY(dpt_file_checksum(file, NULL, &checksum));
    DPT_CHECK(stat(file, &about) == 0, DPT_ERR_IO, "%s: %s", file, strerror(errno));
    fprintf(out, " %lld %016" PRIx64 " ", (long long)about.st_size, checksum);
    if (below || file[0] == '/') {
        fprintf(out, "%s\n", below ? file + folder : file);
        return DPT_OK;
    }
    char *absolute = realpath(file, NULL);
    DPT_CHECK(absolute != NULL, DPT_ERR_IO, "%s: %s", file, strerror(errno));
    fprintf(out, "%s\n", absolute);
    free(absolute);
    return DPT_OK;
}

dpt_status dpt_manifest_write(const char *path, const char *const *files, int64_t count) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    DPT_CHECK(out != NULL, DPT_ERR_MEMORY, "out of memory: a manifest");
    fprintf(out, "%s1\n", magic);
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < count && status == DPT_OK; i++) status = print_file(out, path, files[i]);
    fprintf(out, "end %" PRId64 "\n", count);
    bool failed = ferror(out);
    failed |= fclose(out) != 0;
    if (status == DPT_OK && failed) status = dpt_error(DPT_ERR_MEMORY, "out of memory: a manifest");
    if (status == DPT_OK) status = dpt_file_write(path, text, bytes);
    free(text);
    return status;
}
