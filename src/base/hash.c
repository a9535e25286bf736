/* hash.c: XXH64 chained by seed: digest' = XXH64(bytes, digest). */
#include "base/hash.h"

#include <string.h>
#include <xxhash.h>

uint64_t dpt_hash(const void *data, size_t bytes, uint64_t seed) { return XXH64(data, bytes, seed); }

void dpt_digest_bytes(dpt_digest *d, const void *data, size_t bytes) { d->value = XXH64(data, bytes, d->value); }

void dpt_digest_text(dpt_digest *d, const char *text) {
    size_t bytes = text ? strlen(text) : 0;
    dpt_digest_i64(d, (int64_t)bytes);
    if (bytes) dpt_digest_bytes(d, text, bytes);
}

void dpt_digest_i64(dpt_digest *d, int64_t value) {
    unsigned char b[8];
    for (int i = 0; i < 8; i++) b[i] = (unsigned char)((uint64_t)value >> (8 * i));
    dpt_digest_bytes(d, b, sizeof b);
}

void dpt_digest_f64(dpt_digest *d, double value) {
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    dpt_digest_i64(d, bits);
}
