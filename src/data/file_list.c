/* file_list.c: see file_list.h. */
#include "data/file_list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

static dpt_status named(const dpt_listed_file *f, dpt_status status) {
    if (status == DPT_OK || status == DPT_ERR_MEMORY || f->manifest == NULL) return status;
    return dpt_error_prefix(status, "%s: line %" PRId64 ": ", f->manifest, f->line->line);
}

static dpt_status look(dpt_listed_file *f) {
    DPT_CHECK(stat(f->path, &f->about) == 0, DPT_ERR_IO, "%s: %s", f->path, strerror(errno));
    DPT_CHECK(S_ISREG(f->about.st_mode), DPT_ERR_DATA, "%s: not a regular file", f->path);
    DPT_CHECK(f->about.st_size > 0, DPT_ERR_DATA, "%s: an empty file, of 0 bytes", f->path);
    if (f->line == NULL) return DPT_OK;
    DPT_CHECK(!dpt_manifest_is(f->path), DPT_ERR_DATA, "%s is a manifest itself; a manifest lists HDF5 files", f->path);
    DPT_CHECK((uint64_t)f->about.st_size == f->line->bytes, DPT_ERR_DATA,
              "%s has %lld bytes, the manifest says %" PRIu64, f->path, (long long)f->about.st_size, f->line->bytes);
    return DPT_OK;
}

static dpt_status add(dpt_file_list *list, const char *path, const char *manifest, const dpt_manifest_file *line) {
    DPT_GROW(list->file, list->count, list->capacity);
    dpt_listed_file *f = &list->file[list->count++];
    *f = (dpt_listed_file){.path = path, .manifest = manifest, .line = line};
    return named(f, look(f));
}

static dpt_status add_name(dpt_file_list *list, const char *name) {
    dpt_manifest *m = &list->manifest[list->names++];
    if (!dpt_manifest_is(name)) return add(list, name, NULL, NULL);
    DPT_TRY(dpt_manifest_read(name, m));
    for (int64_t i = 0; i < m->count; i++) DPT_TRY(add(list, m->file[i].path, name, &m->file[i]));
    return DPT_OK;
}

/* By device and inode; of the same file in the order of the list. */
static int by_file(const void *a, const void *b) {
    const dpt_listed_file *f = *(const dpt_listed_file *const *)a, *g = *(const dpt_listed_file *const *)b;
    if (f->about.st_dev != g->about.st_dev) return f->about.st_dev < g->about.st_dev ? -1 : 1;
    if (f->about.st_ino != g->about.st_ino) return f->about.st_ino < g->about.st_ino ? -1 : 1;
    return f < g ? -1 : f > g;
}

static dpt_status same_twice(const dpt_listed_file *f, const dpt_listed_file *g) {
    if (strcmp(f->path, g->path) == 0)
        return dpt_error(DPT_ERR_DATA, "%s: listed twice; its samples would count twice", f->path);
    return dpt_error(DPT_ERR_DATA, "%s: the same file as %s, which is listed too; its samples would count twice",
                     g->path, f->path);
}

static dpt_status check_no_twins(const dpt_file_list *list) {
    const dpt_listed_file **sorted = dpt_alloc((size_t)list->count * sizeof *sorted);
    DPT_CHECK_ALLOC(sorted);
    for (int64_t i = 0; i < list->count; i++) sorted[i] = &list->file[i];
    qsort(sorted, (size_t)list->count, sizeof *sorted, by_file);
    dpt_status status = DPT_OK;
    for (int64_t i = 1; i < list->count && status == DPT_OK; i++)
        if (sorted[i]->about.st_dev == sorted[i - 1]->about.st_dev &&
            sorted[i]->about.st_ino == sorted[i - 1]->about.st_ino)
            status = same_twice(sorted[i - 1], sorted[i]);
    dpt_free(sorted);
    return status;
}

dpt_status dpt_file_list_make(const char *const *names, int64_t count, dpt_file_list *list) {
    *list = (dpt_file_list){0};
    dpt_status status;
    list->manifest = dpt_alloc_zero((size_t)count, sizeof *list->manifest);
    DPT_CHECK_ALLOC_GOTO(list->manifest, fail);
    for (int64_t i = 0; i < count; i++) DPT_TRY_GOTO(add_name(list, names[i]), fail);
    DPT_TRY_GOTO(check_no_twins(list), fail);
    return DPT_OK;
fail:
    dpt_file_list_free(list);
    return status;
}

void dpt_file_list_free(dpt_file_list *list) {
    for (int64_t i = 0; i < list->names; i++) dpt_manifest_free(&list->manifest[i]);
    dpt_free(list->manifest);
    dpt_free(list->file);
    *list = (dpt_file_list){0};
}

dpt_status dpt_file_list_check_rows(const dpt_listed_file *f, uint64_t rows) {
    char text[200] = "";
    size_t n = 0;
    if (f->line == NULL) return DPT_OK;
    for (int64_t i = 0; i < f->line->row_counts; i++) {
        if (f->line->rows[i] == rows) return DPT_OK;
        n = dpt_append(text, sizeof text, n, i ? ", %" PRIu64 : "%" PRIu64, f->line->rows[i]);
    }
    return named(f, dpt_error(DPT_ERR_DATA, "%s has %" PRIu64 " rows, the manifest says %s", f->path, rows,
                              text[0] ? text : "none"));
}
