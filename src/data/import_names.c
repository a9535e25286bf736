/* import_names.c: see import_names.h. */
#include "data/import_names.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

/* "x", "/train/x": HDF5 would take more, and give it another name. */
static bool is_dataset_name(const char *name) {
    name += *name == '/';
    for (const char *end;; name = end + 1) {
        end = strchrnul(name, '/');
        const size_t bytes = (size_t)(end - name);
        const bool dots = (bytes == 1 || bytes == 2) && strncmp(name, "..", bytes) == 0;
        if (bytes == 0 || dots) return false;
        if (*end == 0) return true;
    }
}

/* Whether `name` is `other`, or would lie in it as if that were a group. */
static bool lies_in_dataset(const char *name, const char *other) {
    name += *name == '/';
    other += *other == '/';
    const size_t bytes = strlen(other);
    return strncmp(name, other, bytes) == 0 && (name[bytes] == 0 || name[bytes] == '/');
}

dpt_status dpt_import_check_datasets(const dpt_import_source *source, int count) {
    for (int i = 0; i < count; i++) {
        const char *name = source[i].dataset;
        DPT_CHECK(is_dataset_name(name), DPT_ERR_CONFIG, "\"%s\" is no name of a dataset: such are x, /x and /train/x",
                  name);
        for (int k = 0; k < count; k++) {
            const char *other = source[k].dataset;
            if (k == i || !lies_in_dataset(name, other)) continue;
            DPT_CHECK(lies_in_dataset(other, name), DPT_ERR_CONFIG, "%s: cannot lie in %s, which is a dataset", name,
                      other);
            return dpt_error(DPT_ERR_CONFIG, "%s: asked for twice; a dataset is made from one source", name);
        }
    }
    return DPT_OK;
}

/* The folder of a file, or that part of the way to it which is there already; release with free. NULL: not known. */
static dpt_status find_real_folder(const char *path, char **real) {
    char *folder = dpt_strdup(path), *slash = folder;
    DPT_CHECK_ALLOC(folder);
    for (*real = NULL; slash && *real == NULL;) {
        slash = strrchr(folder, '/');
        if (slash == folder) slash = NULL; /* of the root: "/" stays */
        if (slash) *slash = 0;
        *real = realpath(slash ? folder : *folder == '/' ? "/" : ".", NULL);
    }
    dpt_free(folder);
    return DPT_OK;
}

/* Whether real path `folder` is `other` or below it, where an import of `other` sees it. */
static bool is_seen_in(const char *folder, const char *other) {
    const size_t bytes = strcmp(other, "/") == 0 ? 0 : strlen(other);
    return strncmp(folder, other, bytes) == 0 && (folder[bytes] == 0 || folder[bytes] == '/') &&
           strstr(folder + bytes, "/.") == NULL;
}

dpt_status dpt_import_check_target(const dpt_import_source *source, int count, const char *target) {
    struct stat about;
    const size_t length = strlen(target);
    const bool is_folder = stat(target, &about) == 0 && S_ISDIR(about.st_mode);
    DPT_CHECK(!is_folder && length > 0 && target[length - 1] != '/', DPT_ERR_CONFIG,
              "\"%s\": a folder; the target of an import is a file, as data.h5", target);
    char *folder;
    DPT_TRY(find_real_folder(target, &folder));
    dpt_status status = DPT_OK;
    for (int i = 0; folder && i < count && status == DPT_OK; i++) {
        const char *file = source[i].file;
        char *real = stat(file, &about) == 0 && S_ISDIR(about.st_mode) ? realpath(file, NULL) : NULL;
        if (real && is_seen_in(folder, real))
            status = dpt_error(DPT_ERR_CONFIG, "%s lies in %s, which is imported: make it outside of that folder",
                               target, file);
        free(real);
    }
    free(folder);
    return status;
}
