/* session_input.c: how inputs come to the fixed addresses that a program reads. From the host straight there, or, where
 * the host cannot write the device's memory, through the inbox; arrays on the device by a copy of their own. */
#include <string.h>

#include "program/array_convert.h"
#include "program/session_private.h"

int dpt_session_find_input(const dpt_session *s, const char *name) {
    const dpt_graph *g = s->o.program->graph;
    for (int64_t i = 0; i < g->n_input; i++)
        if (strcmp(g->input[i]->node->name, name) == 0) return (int)i;
    return -1;
}

void dpt_session_input_shape(const dpt_session *s, int input, int *axis, int64_t *row_count) {
    *axis = s->inputs[input].axis;
    *row_count = s->inputs[input].row_count;
}

dpt_status dpt_session_set_input(dpt_session *s, int input, const dpt_array *a) {
    const dpt_operand *o = &s->inputs[input];
    const char *name = s->o.program->graph->input[input]->node->name;
    int64_t rows = o->axis < 0 ? 1 : a->rows;
    DPT_CHECK(rows >= 0 && (o->axis < 0 || rows <= o->dim[0]), DPT_ERR_ARG, "input \"%s\": %lld rows, capacity %lld",
              name, (long long)a->rows, (long long)(o->axis < 0 ? 1 : o->dim[0]));
    int64_t count = rows * o->row_count;
    DPT_CHECK(count == 0 || a->data != NULL, DPT_ERR_ARG, "input \"%s\": data is NULL", name);
    bool lent = a->place == DPT_DEVICE && s->inbox != NULL;
    DPT_CHECK(!lent || a->dtype == o->dtype, DPT_ERR_ARG, "input \"%s\": an array on the device must be %s, not %s",
              name, dpt_dtype_text(o->dtype), dpt_dtype_text(a->dtype));
    if (lent) {
        s->lent[input] = *a;
        s->lent[input].rows = rows;
        return DPT_OK;
    }
    char *to = o->data;
    size_t bytes = (size_t)count * dpt_dtype_size(o->dtype), offset = (size_t)(to - (char *)s->o.activations);
    if (s->inbox) {
        DPT_TRY(dpt_inbox_open(s->inbox, &to));
        to += offset;
    }
    dpt_status status = dpt_array_convert(a->data, a->dtype, to, o->dtype, count);
    if (status != DPT_OK) return dpt_error_prefix(status, "input \"%s\": ", name);
    return s->inbox ? dpt_inbox_send(s->inbox, offset, bytes) : DPT_OK;
}

/* Arrays on the device are copied behind what is queued on their stream, which then waits for the copy. */
static dpt_status take_lent(dpt_session *s) {
    const dpt_device_ops *ops = s->device->ops;
    for (int64_t i = 0; i < s->o.program->graph->n_input; i++) {
        const dpt_operand *o = &s->inputs[i];
        dpt_array *a = &s->lent[i];
        if (a->data == NULL) continue;
        size_t bytes = (size_t)(a->rows * o->row_count) * dpt_dtype_size(o->dtype);
        DPT_TRY(ops->join(s->device, s->stream, a->stream, true));
        DPT_TRY(ops->copy(s->device, o->data, a->data, bytes, s->stream));
        DPT_TRY(ops->join(s->device, s->stream, a->stream, false));
        a->data = NULL;
    }
    return DPT_OK;
}

dpt_status dpt_session_deliver(dpt_session *s) {
    if (s->inbox == NULL) {
        memcpy(s->o.activations, &s->block, sizeof s->block);
        return DPT_OK;
    }
    char *slot;
    size_t bytes = dpt_align(sizeof s->block); /* inputs from the host reach this far */
    for (int64_t i = 0; i < s->o.program->graph->n_input; i++) {
        size_t end = (size_t)((char *)s->inputs[i].data - (char *)s->o.activations) +
                     (size_t)s->inputs[i].count * dpt_dtype_size(s->inputs[i].dtype);
        if (s->lent[i].data == NULL && end > bytes) bytes = end;
    }
    DPT_TRY(dpt_inbox_open(s->inbox, &slot));
    memcpy(slot, &s->block, sizeof s->block);
    DPT_TRY(dpt_inbox_send(s->inbox, 0, sizeof s->block));
    DPT_TRY(dpt_inbox_deliver(s->inbox, s->o.activations, bytes));
    return take_lent(s);
}
