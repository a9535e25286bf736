/* Samples of comparisons and choices: see op_samples.h. Inputs are random: none are equal but by design. */
#include "samples/samples.h"

static dpt_tensor *greater(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 3));
    return dpt_mul(x, dpt_greater(x, any(b, DIMS(2, 1))));
}
static dpt_tensor *equal(sample_build *b) {
    dpt_tensor *class = sample_integer(b, DPT_I32, DIMS(B, 1), 3), *other = sample_integer(b, DPT_I32, DIMS(5), 3);
    return dpt_mul(any(b, DIMS(B, 5)), dpt_cast(dpt_equal(class, other), b->dtype));
}
static dpt_tensor *equal_float(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 4));
    return dpt_mul(x, dpt_equal(x, dpt_relu(x)));
}
static dpt_tensor *where_u8(sample_build *b) {
    return dpt_where(sample_integer(b, DPT_U8, DIMS(B, 3), 2), any(b, DIMS(B, 3)), any(b, DIMS(3)));
}
static dpt_tensor *where_float(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 3)), *y = any(b, DIMS(2, 1));
    return dpt_where(dpt_greater(x, y), x, dpt_scale(y, 2));
}

static const op_sample rows_of_table[] = {
    CLOSED(GREATER, "greater", greater),
    CLOSED(EQUAL, "equal", equal),
    CLOSED(EQUAL, "equal of floats", equal_float),
    CLOSED(WHERE, "where", where_u8),
    CLOSED(WHERE, "where, of floats", where_float),
};
SAMPLE_FAMILY(choice)
