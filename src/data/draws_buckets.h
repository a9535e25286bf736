/* draws_buckets.h: order `buckets` of draws.h, which has its definition and calls it. */
#ifndef DPT_DATA_DRAWS_BUCKETS_H
#define DPT_DATA_DRAWS_BUCKETS_H

#include <stdint.h>

#include "base/error.h"

typedef struct dpt_buckets dpt_buckets;

/* Local, all of them; rows and errors as draws.h says of dpt_draws_buckets and dpt_draws_rows. */
dpt_status dpt_buckets_create(const uint64_t *length, uint64_t rows, uint64_t key, int64_t global_batch,
                              int64_t batches, dpt_buckets **buckets);
void dpt_buckets_destroy(dpt_buckets **buckets);
dpt_status dpt_buckets_rows(dpt_buckets *buckets, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row);

/* XXH64(number as 8 bytes, little-endian; key). */
uint64_t dpt_draws_key(uint64_t key, uint64_t number);

#endif
