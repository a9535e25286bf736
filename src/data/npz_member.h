/* npz_member.h: one member of an NPZ file (a ZIP archive of NPY files, as numpy.savez and numpy.savez_compressed write
 * it) as a stream of bytes, by libzip. A few KiB of memory, besides the archive's directory.
 *
 * Messages name no file: the caller puts its name before them. */
#ifndef DPT_DATA_NPZ_MEMBER_H
#define DPT_DATA_NPZ_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_npz_member {
    struct zip *archive;
    struct zip_file *file;
    char *name;    /* "x" for the member "x.npy" */
    int64_t bytes; /* unpacked, as the archive declares */
} dpt_npz_member;

/* Whether a file begins as a ZIP archive does. */
bool dpt_npz_is(const unsigned char *prefix, int64_t bytes);

/* Opens the member of this name, with or without ".npy"; NULL: the only one. archive_bytes: of the file. On failure
 * nothing needs closing. Local.
 * DPT_ERR_CONFIG: no member of that name, or no name and several members (those there are named). DPT_ERR_DATA: no
 * archive, truncated, damaged, a name that stands twice, sizes that cannot be. DPT_ERR_UNSUPPORTED: encrypted, or
 * packed in other ways than stored and deflate. DPT_ERR_IO: cannot be read. */
dpt_status dpt_npz_open(const char *path, int64_t archive_bytes, const char *part, dpt_npz_member *member);
/* The next bytes; *got is fewer only at the end, where the checksum has been found right. Local.
 * DPT_ERR_DATA: damaged. DPT_ERR_IO: cannot be read. */
dpt_status dpt_npz_read(dpt_npz_member *member, void *out, int64_t bytes, int64_t *got);
/* Takes one that is empty ({0}). */
void dpt_npz_close(dpt_npz_member *member);

#endif
