/* image_folder.c: folders, each read whole and sorted before it is used, so that the order of the file system shows
 * nowhere. Links to folders are not followed, so no way leads back up. */
#include "data/image_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/memory.h"

enum { DEEPEST = 64 };

typedef enum entry_kind { KIND_FILE, KIND_FOLDER, KIND_OTHER } entry_kind;

typedef struct folder_entry {
    char *name;
    entry_kind kind;
    struct timespec changed;
    int64_t size;
} folder_entry;

typedef struct entries {
    folder_entry *entry;
    int64_t count, room;
} entries;

static void close_entries(entries *all) {
    for (int64_t i = 0; i < all->count; i++) dpt_free(all->entry[i].name);
    dpt_free(all->entry);
}

/* A link that leads nowhere is a file: opening it gives the reason. */
static dpt_status look_at(DIR *stream, const char *path, folder_entry *entry) {
    struct stat about;
    DPT_CHECK(fstatat(dirfd(stream), entry->name, &about, AT_SYMLINK_NOFOLLOW) == 0, DPT_ERR_IO, "%s/%s: %s", path,
              entry->name, strerror(errno));
    entry->kind = S_ISREG(about.st_mode) ? KIND_FILE : S_ISDIR(about.st_mode) ? KIND_FOLDER : KIND_OTHER;
    if (S_ISLNK(about.st_mode) && (fstatat(dirfd(stream), entry->name, &about, 0) != 0 || S_ISREG(about.st_mode)))
        entry->kind = KIND_FILE;
    entry->changed = about.st_mtim;
    entry->size = about.st_size;
    return DPT_OK;
}

static dpt_status add_entry(entries *all, DIR *stream, const char *path, const char *name) {
    DPT_GROW(all->entry, all->count, all->room);
    char *copy = dpt_strdup(name);
    DPT_CHECK_ALLOC(copy);
    folder_entry *entry = &all->entry[all->count++];
    entry->name = copy;
    return look_at(stream, path, entry);
}

static dpt_status read_entries(DIR *stream, const char *path, entries *all, int64_t *hidden) {
    for (;;) {
        errno = 0;
        const struct dirent *next = readdir(stream);
        DPT_CHECK(next != NULL || errno == 0, DPT_ERR_IO, "%s: %s", path, strerror(errno));
        if (next == NULL) return DPT_OK;
        const char *name = next->d_name;
        if (name[0] == '.') {
            *hidden += strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
            continue;
        }
        DPT_TRY(add_entry(all, stream, path, name));
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const folder_entry *)a)->name, ((const folder_entry *)b)->name);
}

/* All of one folder, sorted; close_entries also after a failure. */
static dpt_status list_entries(const char *path, entries *all, int64_t *hidden) {
    DIR *stream = opendir(path);
    DPT_CHECK(stream != NULL, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    dpt_status status = read_entries(stream, path, all, hidden);
    closedir(stream);
    if (status == DPT_OK && all->count > 0) qsort(all->entry, (size_t)all->count, sizeof *all->entry, by_name);
    return status;
}

dpt_status dpt_image_folder_leave_out(dpt_image_folder *folder, const char *name) {
    if (folder->other++ > 0) return DPT_OK;
    folder->first_other = dpt_strdup(name);
    DPT_CHECK_ALLOC(folder->first_other);
    return DPT_OK;
}

static dpt_status add_file(dpt_image_folder *folder, const char *name, int32_t class_id) {
    DPT_GROW(folder->file, folder->files, folder->file_room);
    char *copy = dpt_strdup(name);
    DPT_CHECK_ALLOC(copy);
    folder->file[folder->files++] = (dpt_image_file){copy, class_id};
    return DPT_OK;
}

static void digest_file(dpt_image_folder *folder, const char *name, const folder_entry *entry) {
    dpt_digest digest = {folder->digest};
    dpt_digest_text(&digest, name);
    dpt_digest_i64(&digest, entry->size);
    dpt_digest_i64(&digest, entry->changed.tv_sec);
    dpt_digest_i64(&digest, entry->changed.tv_nsec);
    folder->digest = digest.value;
}

static dpt_status fill_class(dpt_image_folder *folder, const char *below, int32_t class_id, int depth);

/* What lies in a class, or beside the classes: class_id -1, below NULL. */
static dpt_status add_below(dpt_image_folder *folder, const char *below, const folder_entry *entry, int32_t class_id,
                            int depth) {
    char *name = below ? dpt_format("%s/%s", below, entry->name) : dpt_strdup(entry->name);
    DPT_CHECK_ALLOC(name);
    dpt_status status;
    switch (entry->kind) {
        case KIND_FILE:
            digest_file(folder, name, entry);
            status = add_file(folder, name, class_id);
            break;
        case KIND_FOLDER: status = fill_class(folder, name, class_id, depth + 1); break;
        default: status = dpt_image_folder_leave_out(folder, name); break;
    }
    dpt_free(name);
    return status;
}

static dpt_status fill_class(dpt_image_folder *folder, const char *below, int32_t class_id, int depth) {
    DPT_CHECK(depth <= DEEPEST, DPT_ERR_UNSUPPORTED, "%s/%.200s...: folders more than %d deep", folder->path, below,
              DEEPEST);
    char *path = dpt_format("%s/%s", folder->path, below);
    DPT_CHECK_ALLOC(path);
    entries all = {0};
    dpt_status status = list_entries(path, &all, &folder->hidden);
    for (int64_t i = 0; i < all.count && status == DPT_OK; i++)
        status = add_below(folder, below, &all.entry[i], class_id, depth);
    close_entries(&all);
    dpt_free(path);
    return status;
}

static dpt_status add_class(dpt_image_folder *folder, const char *name) {
    DPT_CHECK(folder->classes < INT32_MAX, DPT_ERR_UNSUPPORTED, "%s: more than %d classes", folder->path, INT32_MAX);
    DPT_GROW(folder->class_name, folder->classes, folder->class_room);
    char *copy = dpt_strdup(name);
    DPT_CHECK_ALLOC(copy);
    folder->class_name[folder->classes++] = copy;
    return fill_class(folder, copy, (int32_t)folder->classes - 1, 1);
}

static dpt_status fill(dpt_image_folder *folder) {
    entries all = {0};
    dpt_status status = list_entries(folder->path, &all, &folder->hidden);
    for (int64_t i = 0; i < all.count && status == DPT_OK; i++) {
        const folder_entry *next = &all.entry[i];
        status = next->kind == KIND_FOLDER ? add_class(folder, next->name) : add_below(folder, NULL, next, -1, 0);
    }
    close_entries(&all);
    return status;
}

dpt_status dpt_image_folder_list(const char *path, dpt_image_folder *folder) {
    *folder = (dpt_image_folder){.path = dpt_strdup(path)};
    DPT_CHECK_ALLOC(folder->path);
    dpt_status status = fill(folder);
    if (status != DPT_OK) dpt_image_folder_close(folder);
    return status;
}

dpt_status dpt_image_folder_write(const dpt_image_folder *folder, char **bytes, int64_t *size) {
    *size = 0;
    for (int64_t i = 0; i < folder->files; i++)
        *size += (int64_t)(sizeof folder->file->class_id + strlen(folder->file[i].name) + 1);
    char *to = *bytes = dpt_alloc((size_t)*size);
    DPT_CHECK_ALLOC(to);
    for (int64_t i = 0; i < folder->files; i++) {
        const dpt_image_file *file = &folder->file[i];
        memcpy(to, &file->class_id, sizeof file->class_id);
        to = stpcpy(to + sizeof file->class_id, file->name) + 1;
    }
    return DPT_OK;
}

static dpt_status read_files(dpt_image_folder *folder, const char *bytes, int64_t size) {
    DPT_CHECK(size > 0 && bytes[size - 1] == 0, DPT_ERR_DATA, "%s: no list of files", folder->path);
    for (const char *end = bytes + size; bytes < end; bytes += strlen(bytes) + 1) {
        int32_t class_id;
        DPT_CHECK(end - bytes > (ptrdiff_t)sizeof class_id, DPT_ERR_DATA, "%s: no list of files", folder->path);
        memcpy(&class_id, bytes, sizeof class_id);
        bytes += sizeof class_id;
        DPT_TRY(add_file(folder, bytes, class_id));
    }
    return DPT_OK;
}

dpt_status dpt_image_folder_read(const char *path, const char *bytes, int64_t size, dpt_image_folder *folder) {
    *folder = (dpt_image_folder){.path = dpt_strdup(path)};
    DPT_CHECK_ALLOC(folder->path);
    dpt_status status = read_files(folder, bytes, size);
    if (status != DPT_OK) dpt_image_folder_close(folder);
    return status;
}

void dpt_image_folder_close(dpt_image_folder *folder) {
    for (int64_t i = 0; i < folder->classes; i++) dpt_free(folder->class_name[i]);
    for (int64_t i = 0; i < folder->files; i++) dpt_free(folder->file[i].name);
    dpt_free(folder->class_name);
    dpt_free(folder->file);
    dpt_free(folder->first_other);
    dpt_free(folder->path);
    *folder = (dpt_image_folder){0};
}
