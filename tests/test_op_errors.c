/* test_op_errors.c: what the constructors of ops refuse, and what they say: the op, the shapes or types, and the file
 * and line of the caller. */
#include <stdio.h>

#include "check.h"
#include "dptrain/ops.h"
#include "graph/graph.h"

typedef struct operands {
    dpt_graph *g;
    dpt_tensor *x, *y, *z, *s, *t, *d, *bare; /* [B,5], [B,4], [A2,5], [5], u8 [B], f64 [B,5], [3,2] */
} operands;

/* Builds something wrong; returns the line where. */
typedef int (*wrong_fn)(const operands *o);

#define WRONG(name, expression)          \
    static int name(const operands *o) { \
        (expression);                    \
        return __LINE__;                 \
    }
WRONG(add_shapes, dpt_add(o->x, o->y))
WRONG(mul_axes, dpt_mul(o->x, o->z))
WRONG(sub_types, dpt_sub(o->x, o->d))
WRONG(div_batch_moves, dpt_div(dpt_reshape_at(DPT_HERE, o->bare, 3, (int64_t[]){6, 1, 1}), o->x))
WRONG(add_integer, dpt_add(o->t, o->t))
WRONG(scale_integer, dpt_scale(o->t, 2))
WRONG(cast_to_integer, dpt_cast(o->x, DPT_I32))
WRONG(relu_integer, dpt_relu(o->t))
WRONG(sum_axes, dpt_sum(o->x, 4, 0))
WRONG(mean_axes, dpt_mean(o->s, 2, 0))
WRONG(sum_integer, dpt_sum(o->t, 1, 0))
WRONG(broadcast_shrinks, dpt_broadcast_at(DPT_HERE, o->x, 1, (int64_t[]){5}))
WRONG(broadcast_mismatch, dpt_broadcast_at(DPT_HERE, o->s, 2, (int64_t[]){3, 4}))
WRONG(broadcast_axis, dpt_broadcast_at(DPT_HERE, o->s, 2, (int64_t[]){-40, 5}))
WRONG(rows_axis, dpt_rows(o->g, 7, 1, DPT_F32))
WRONG(reshape_count, dpt_reshape_at(DPT_HERE, o->bare, 1, (int64_t[]){7}))
WRONG(reshape_batch, dpt_reshape_at(DPT_HERE, o->x, 2, (int64_t[]){5, DPT_BATCH}))
WRONG(reshape_overflow, dpt_reshape_at(DPT_HERE, o->bare, 3, (int64_t[]){INT64_MAX, INT64_MAX, 6}))
WRONG(flatten_scalar, dpt_flatten(dpt_sum(o->bare, DPT_ALL_AXES, 0)))
WRONG(softmax_integer, dpt_softmax(o->t))
WRONG(one_hot_float, dpt_one_hot(o->s, 5, DPT_F32))
WRONG(one_hot_classes, dpt_one_hot(o->t, 0, DPT_F32))
WRONG(cross_entropy_target, dpt_cross_entropy(o->x, o->s))
WRONG(cross_entropy_rows, dpt_cross_entropy(o->z, o->t))
WRONG(accuracy_shape, dpt_accuracy(o->s, o->t))
WRONG(dropout_probability, dpt_dropout(o->x, 1.0, "drop"))
WRONG(dropout_nan, dpt_dropout(o->x, NAN, "drop"))
WRONG(dropout_unnamed, dpt_dropout(o->x, 0.5, NULL))
WRONG(dropout_name, dpt_dropout(o->x, 0.5, "x"))

static const struct {
    wrong_fn build;
    dpt_status status;
    const char *text[3];
} wrong[] = {
    {add_shapes, DPT_ERR_SHAPE, {"add: ", "a is [B,5], b is [B,4]"}},
    {mul_axes, DPT_ERR_SHAPE, {"mul: ", "a is [B,5]", "b is [A"}},
    {sub_types, DPT_ERR_SHAPE, {"sub: ", "f32 [B,5]", "f64 [B,5]"}},
    {div_batch_moves, DPT_ERR_SHAPE, {"div: ", "a is [6,1,1], b is [B,5]"}},
    {add_integer, DPT_ERR_SHAPE, {"add: ", "u8 [B]"}},
    {scale_integer, DPT_ERR_SHAPE, {"scale: ", "u8 [B]"}},
    {cast_to_integer, DPT_ERR_SHAPE, {"cast: ", "[B,5]", "i32"}},
    {relu_integer, DPT_ERR_SHAPE, {"relu: ", "u8 [B]"}},
    {sum_axes, DPT_ERR_SHAPE, {"sum: ", "[B,5]", "0x4"}},
    {mean_axes, DPT_ERR_SHAPE, {"mean: ", "[5]", "0x2"}},
    {sum_integer, DPT_ERR_SHAPE, {"sum: ", "u8 [B]"}},
    {broadcast_shrinks, DPT_ERR_SHAPE, {"broadcast: ", "[B,5], to [5]"}},
    {broadcast_mismatch, DPT_ERR_SHAPE, {"broadcast: ", "[5], to [3,4]"}},
    {broadcast_axis, DPT_ERR_SHAPE, {"broadcast: ", "[5], to "}},
    {rows_axis, DPT_ERR_ARG, {"rows: ", "7"}},
    {reshape_count, DPT_ERR_SHAPE, {"reshape: ", "[3,2], to [7]"}},
    {reshape_batch, DPT_ERR_SHAPE, {"reshape: ", "[B,5], to [5,B]"}},
    {reshape_overflow, DPT_ERR_SHAPE, {"reshape: ", "[3,2], to "}},
    {flatten_scalar, DPT_ERR_SHAPE, {"flatten: ", "[]"}},
    {softmax_integer, DPT_ERR_SHAPE, {"softmax: ", "u8 [B]"}},
    {one_hot_float, DPT_ERR_SHAPE, {"one_hot: ", "f32 [5]"}},
    {one_hot_classes, DPT_ERR_SHAPE, {"one_hot: ", "[B]", "0 classes"}},
    {cross_entropy_target, DPT_ERR_SHAPE, {"cross_entropy: ", "f32 [B,5]", "f32 [5]"}},
    {cross_entropy_rows, DPT_ERR_SHAPE, {"cross_entropy: ", "u8 [B]"}},
    {accuracy_shape, DPT_ERR_SHAPE, {"accuracy: ", "f32 [5]", "u8 [B]"}},
    {dropout_probability, DPT_ERR_ARG, {"dropout \"drop\": ", "is 1 "}},
    {dropout_nan, DPT_ERR_ARG, {"dropout \"drop\": ", "nan"}},
    {dropout_unnamed, DPT_ERR_ARG, {"dropout: ", "name"}},
    {dropout_name, DPT_ERR_ARG, {"dropout \"x\": ", "taken"}},
};

static operands make(void) {
    operands o = {.g = dpt_graph_create(NULL)};
    const int64_t other = dpt_batch_axis(o.g, "points");
    o.x = dpt_input_at(DPT_HERE, o.g, "x", DPT_F32, 2, (int64_t[]){DPT_BATCH, 5});
    o.y = dpt_input_at(DPT_HERE, o.g, "y", DPT_F32, 2, (int64_t[]){DPT_BATCH, 4});
    o.z = dpt_input_at(DPT_HERE, o.g, "z", DPT_F32, 2, (int64_t[]){other, 5});
    o.s = dpt_input_at(DPT_HERE, o.g, "s", DPT_F32, 1, (int64_t[]){5});
    o.t = dpt_input_at(DPT_HERE, o.g, "t", DPT_U8, 1, (int64_t[]){DPT_BATCH});
    o.d = dpt_input_at(DPT_HERE, o.g, "d", DPT_F64, 2, (int64_t[]){DPT_BATCH, 5});
    o.bare = dpt_input_at(DPT_HERE, o.g, "bare", DPT_F32, 2, (int64_t[]){3, 2});
    return o;
}

static void says_what_and_where(void) {
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        operands o = make();
        CHECK_OK(dpt_graph_status(o.g));
        char place[64];
        snprintf(place, sizeof place, "test_op_errors.c:%d: ", wrong[i].build(&o));
        CHECK_FAILS(dpt_graph_status(o.g), wrong[i].status, place);
        for (int k = 0; k < 3 && wrong[i].text[k]; k++)
            CHECK_FAILS(dpt_graph_status(o.g), wrong[i].status, wrong[i].text[k]);
        dpt_graph_destroy(&o.g);
    }
}

/* The first error sticks; what is built on poison is poison and says nothing. */
static void first_error_sticks(void) {
    operands o = make();
    dpt_tensor *bad = dpt_add(o.x, o.y);
    int64_t dim[DPT_MAX_NDIM];
    dpt_tensor *on[] = {dpt_relu(bad),
                        dpt_sum(bad, 1, 0),
                        dpt_mean(bad, 1, 0),
                        dpt_cast(bad, DPT_F64),
                        dpt_flatten(bad),
                        dpt_softmax(bad),
                        dpt_dropout(bad, 0.5, "drop"),
                        dpt_mul(o.x, bad),
                        dpt_broadcast_at(DPT_HERE, bad, 1, (int64_t[]){3}),
                        dpt_cross_entropy(bad, o.t)};
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) CHECK_EQ_I64(dpt_tensor_dims(on[i], dim), -1);
    dpt_softmax(o.t);
    CHECK_FAILS(dpt_graph_status(o.g), DPT_ERR_SHAPE, "add: a is [B,5], b is [B,4]");
    dpt_graph_destroy(&o.g);
}

/* What changes nothing makes no node. */
static void identities_make_no_node(void) {
    operands o = make();
    const int64_t n = o.g->n_node;
    CHECK(dpt_cast(o.x, DPT_F32) == o.x);
    CHECK(dpt_sum(o.x, 0, 1) == o.x);
    CHECK(dpt_reshape_at(DPT_HERE, o.x, 2, (int64_t[]){DPT_BATCH, 5}) == o.x);
    CHECK(dpt_broadcast_at(DPT_HERE, o.s, 1, (int64_t[]){5}) == o.s);
    CHECK(dpt_flatten(o.x) == o.x);
    CHECK_EQ_I64(o.g->n_node, n);
    dpt_graph_destroy(&o.g);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "op_errors", {"says_what_and_where", says_what_and_where},
                      {"first_error_sticks", first_error_sticks}, {"identities_make_no_node", identities_make_no_node});
}
