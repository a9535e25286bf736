/* image_folder.c: two levels of folders, each read whole and sorted before it is used, so that the order of the file
 * system shows nowhere. */
#include "data/image_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

typedef enum entry_kind { KIND_FILE, KIND_FOLDER, KIND_OTHER } entry_kind;

typedef struct folder_entry {
    char *name;
    entry_kind kind;
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
static dpt_status kind_of(DIR *stream, const char *path, const char *name, entry_kind *kind) {
    struct stat about;
    DPT_CHECK(fstatat(dirfd(stream), name, &about, AT_SYMLINK_NOFOLLOW) == 0, DPT_ERR_IO, "%s/%s: %s", path, name,
              strerror(errno));
    *kind = S_ISREG(about.st_mode) ? KIND_FILE : S_ISDIR(about.st_mode) ? KIND_FOLDER : KIND_OTHER;
    if (S_ISLNK(about.st_mode) && (fstatat(dirfd(stream), name, &about, 0) != 0 || S_ISREG(about.st_mode)))
        *kind = KIND_FILE;
    return DPT_OK;
}

static dpt_status add_entry(entries *all, const char *name, entry_kind kind) {
    DPT_GROW(all->entry, all->count, all->room);
    char *copy = dpt_strdup(name);
    DPT_CHECK_ALLOC(copy);
    all->entry[all->count++] = (folder_entry){copy, kind};
    return DPT_OK;
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
        entry_kind kind;
        DPT_TRY(kind_of(stream, path, name, &kind));
        DPT_TRY(add_entry(all, name, kind));
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

/* Takes name. */
static dpt_status add_file(dpt_image_folder *folder, char *name, int32_t class_id) {
    DPT_GROW(folder->file, folder->files, folder->file_room);
    folder->file[folder->files++] = (dpt_image_file){name, class_id};
    return DPT_OK;
}

/* A file, or what is neither file nor class; its name below the folder is of either word or both. */
static dpt_status add_below(dpt_image_folder *folder, const char *class_name, const folder_entry *entry,
                            int32_t class_id) {
    char *name = class_name ? dpt_format("%s/%s", class_name, entry->name) : dpt_strdup(entry->name);
    DPT_CHECK_ALLOC(name);
    dpt_status status;
    if (entry->kind == KIND_FILE) {
        status = add_file(folder, name, class_id);
        if (status == DPT_OK) return DPT_OK;
    } else {
        status = dpt_image_folder_leave_out(folder, name);
    }
    dpt_free(name);
    return status;
}

static dpt_status fill_class(dpt_image_folder *folder, const char *class_name, int32_t class_id) {
    char *path = dpt_format("%s/%s", folder->path, class_name);
    DPT_CHECK_ALLOC(path);
    entries all = {0};
    dpt_status status = list_entries(path, &all, &folder->hidden);
    for (int64_t i = 0; i < all.count && status == DPT_OK; i++)
        status = add_below(folder, class_name, &all.entry[i], class_id);
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
    return fill_class(folder, copy, (int32_t)folder->classes - 1);
}

static dpt_status fill(dpt_image_folder *folder) {
    entries all = {0};
    dpt_status status = list_entries(folder->path, &all, &folder->hidden);
    for (int64_t i = 0; i < all.count && status == DPT_OK; i++) {
        const folder_entry *next = &all.entry[i];
        status = next->kind == KIND_FOLDER ? add_class(folder, next->name) : add_below(folder, NULL, next, -1);
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

void dpt_image_folder_close(dpt_image_folder *folder) {
    for (int64_t i = 0; i < folder->classes; i++) dpt_free(folder->class_name[i]);
    for (int64_t i = 0; i < folder->files; i++) dpt_free(folder->file[i].name);
    dpt_free(folder->class_name);
    dpt_free(folder->file);
    dpt_free(folder->first_other);
    dpt_free(folder->path);
    *folder = (dpt_image_folder){0};
}
