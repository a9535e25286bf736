/* Samples of pooling: see op_samples.h. */
#include "samples/samples.h"

static dpt_tensor *pool_plain(sample_build *b) { return dpt_max_pool2d(any(b, DIMS(B, 2, 4, 6)), 2, 0, 0); }
static dpt_tensor *pool_overlapping(sample_build *b) { return dpt_max_pool2d(any(b, DIMS(B, 2, 5, 5)), 3, 2, 1); }
/* a product, so that the gradient's gradient takes values from where the maxima stand */
static dpt_tensor *pool_square(sample_build *b) {
    dpt_tensor *y = dpt_max_pool2d(any(b, DIMS(B, 1, 4, 4)), 2, 2, 0);
    return dpt_mul(y, y);
}

static const op_sample rows_of_table[] = {
    CLOSED(MAX_POOL, "max_pool2d", pool_plain),
    CLOSED(POOL_SCATTER, "max_pool2d, overlapping", pool_overlapping),
    CLOSED(POOL_GATHER, "max_pool2d, squared", pool_square),
};
SAMPLE_FAMILY(layers)
