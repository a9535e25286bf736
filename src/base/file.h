/* file.h: files that appear under their name whole or not at all, and outlast a crash of the machine once they have:
 * the content is written and synced under a temporary name in the same folder, renamed, and the folder synced.
 *
 * All functions are local; those that write fail with DPT_ERR_IO, "<path> cannot be written: <the system's reason>";
 * what stood at path then still does, and the temporary file is gone. Only where the folder alone cannot be synced is
 * the new file there already. */
#ifndef DPT_BASE_FILE_H
#define DPT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Reads a file of text, closed with a zero behind it; release with dpt_free. code, "<what> <path>: <the system's
 * reason>", or "over N bytes": more than most. */
dpt_status dpt_file_read(const char *what, const char *path, dpt_status code, size_t most, char **text, size_t *bytes);
/* Gives a file that is written and closed its name. */
dpt_status dpt_file_commit(const char *temporary, const char *path);
/* Writes a file, "<path>.tmp" at first. */
dpt_status dpt_file_write(const char *path, const void *content, size_t bytes);
/* Writes a file unless there is one: *first tells. Of several processes that try, on any host, one is the first.
 * temporary: a name in the same folder that is this process's own. */
dpt_status dpt_file_write_first(const char *path, const char *temporary, const void *content, size_t bytes,
                                bool *first);

#endif
