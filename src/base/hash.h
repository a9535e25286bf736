/* hash.h: 64-bit digests (XXH64) of what ranks must agree on. Multi-byte values enter little-endian. */
#ifndef DPT_BASE_HASH_H
#define DPT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct dpt_digest {
    uint64_t value; /* start from {0} */
} dpt_digest;

uint64_t dpt_hash(const void *data, size_t bytes, uint64_t seed); /* XXH64 */
void dpt_digest_bytes(dpt_digest *d, const void *data, size_t bytes);
void dpt_digest_text(dpt_digest *d, const char *text); /* with its length; NULL counts as "" */
void dpt_digest_i64(dpt_digest *d, int64_t value);
void dpt_digest_f64(dpt_digest *d, double value);

/* XXH64 of bytes that come a piece at a time: the same whatever the pieces are, and as xxh64sum prints it. */
typedef struct dpt_checksum {
    uint64_t state[12];
} dpt_checksum;

void dpt_checksum_begin(dpt_checksum *sum);
void dpt_checksum_add(dpt_checksum *sum, const void *data, size_t bytes);
uint64_t dpt_checksum_value(const dpt_checksum *sum); /* of what was added so far */

#endif
