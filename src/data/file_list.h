/* file_list.h: the files that a dataset is made of, from what the user listed: files and manifests, whose files take
 * their place. Looks at every file once, so that what cannot be a dataset is said before any is opened. */
#ifndef DPT_DATA_FILE_LIST_H
#define DPT_DATA_FILE_LIST_H

#include <sys/stat.h>

#include "data/manifest.h"

typedef struct dpt_listed_file {
    const char *path; /* the caller's, or the manifest's */
    struct stat about;
    const char *manifest; /* that lists it, the caller's; NULL: none */
    const dpt_manifest_file *line;
} dpt_listed_file;

typedef struct dpt_file_list {
    dpt_listed_file *file;
    int64_t count, capacity;
    dpt_manifest *manifest; /* as many as there were names; empty for a file */
    int64_t names;
} dpt_file_list;

/* Borrows names. Local. On failure nothing needs freeing.
 * DPT_ERR_IO: a file cannot be looked at. DPT_ERR_DATA: no regular file, a file of 0 bytes, the same file twice (under
 * whatever names, both are said), a manifest that is damaged, lists another manifest or another size of a file. */
dpt_status dpt_file_list_make(const char *const *names, int64_t count, dpt_file_list *list);
void dpt_file_list_free(dpt_file_list *list);

/* Whether a dataset may have so many rows in a file, by its manifest. DPT_ERR_DATA: says what the manifest has. */
dpt_status dpt_file_list_check_rows(const dpt_listed_file *file, uint64_t rows);

#endif
