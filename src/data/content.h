/* content.h: which bytes of a file something was made of, and their digest: what tells later whether they are still the
 * same.
 *
 *   dpt_content content = {0};
 *   if (!dpt_content_note(&content, offset, bytes)) ... out of memory       again and again
 *   dpt_content_settle(&content, file_bytes);
 *   DPT_TRY(dpt_content_digest(&content, descriptor, &content.digest));
 *   dpt_content_free(&content);
 *
 * All functions are local. */
#ifndef DPT_DATA_CONTENT_H
#define DPT_DATA_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Bytes [offset, offset + bytes) of a file. */
typedef struct dpt_extent {
    uint64_t offset, bytes;
} dpt_extent;

typedef struct dpt_content {
    dpt_extent *extent; /* once settled: rising, apart from each other, within the file */
    int64_t extents, capacity;
    uint64_t digest;
} dpt_content;

/* Adds an extent, which may be there already. false: out of memory. */
bool dpt_content_note(dpt_content *content, uint64_t offset, uint64_t bytes);
/* Sorts and joins the extents, and cuts them off where the file ends. */
void dpt_content_settle(dpt_content *content, uint64_t file_bytes);
/* Of the settled extents and the bytes that stand there now. DPT_ERR_IO: they cannot be read. */
dpt_status dpt_content_digest(const dpt_content *content, int descriptor, uint64_t *digest);
void dpt_content_free(dpt_content *content);

/* The XXH64 of a file, or of one extent of it (NULL: all). DPT_ERR_IO, with the file's name. */
dpt_status dpt_file_checksum(const char *path, const dpt_extent *extent, uint64_t *checksum);

#endif
