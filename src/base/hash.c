/* hash.c: XXH64 chained by seed: digest' = XXH64(bytes, digest). */
#include "base/hash.h"

#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the size of a state */
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

_Static_assert(sizeof(XXH64_state_t) <= sizeof(dpt_checksum), "a checksum holds the state of XXH64");

void dpt_checksum_begin(dpt_checksum *sum) { XXH64_reset((XXH64_state_t *)sum->state, 0); }

void dpt_checksum_add(dpt_checksum *sum, const void *data, size_t bytes) {
    XXH64_update((XXH64_state_t *)sum->state, data, bytes);
}

uint64_t dpt_checksum_value(const dpt_checksum *sum) { return XXH64_digest((const XXH64_state_t *)sum->state); }
