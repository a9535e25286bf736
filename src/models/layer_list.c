/* layer_list.c: see layer_list.h. layer_yaml.c reads, layer_join.c joins, layer_types.c knows the types. */
#include "models/layer_list.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "models/ends.h"
#include "models/layer_types.h"

enum { LARGEST_FILE = 1 << 20 };

dpt_status dpt_layers_parse(const char *file, const char *text, size_t bytes, const dpt_layers_ends *ends,
                            dpt_layers **layers) {
    static const char *const only = "input";
    dpt_status status;
    *layers = NULL;
    dpt_layers *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    made->file = dpt_strdup(file);
    DPT_CHECK_ALLOC_GOTO(made->file, fail);
    DPT_TRY_GOTO(dpt_layers_read_yaml(made, text, bytes), fail);
    DPT_TRY_GOTO(dpt_layers_join(made, ends ? ends : &(dpt_layers_ends){.input = &only, .inputs = 1}), fail);
    *layers = made;
    return DPT_OK;
fail:
    dpt_layers_destroy(&made);
    return status;
}

dpt_status dpt_layers_read(const char *path, const dpt_layers_ends *ends, dpt_layers **layers) {
    char *text;
    size_t bytes;
    *layers = NULL;
    DPT_TRY(dpt_file_read("layers", path, DPT_ERR_CONFIG, LARGEST_FILE, &text, &bytes));
    dpt_status status = dpt_layers_parse(path, text, bytes, ends, layers);
    if (status == DPT_OK)
        (*layers)->text = text;
    else
        dpt_free(text);
    return status;
}

const char *dpt_layers_text(const dpt_layers *layers) { return layers->text; }

void dpt_layers_destroy(dpt_layers **layers) {
    dpt_layers *all = layers ? *layers : NULL;
    if (all == NULL) return;
    *layers = NULL;
    for (int64_t i = 0; i < all->count; i++) {
        dpt_layer *layer = &all->layer[i];
        for (int64_t k = 0; k < layer->from_count; k++) dpt_free(layer->from[k]);
        dpt_free(layer->from);
        dpt_free(layer->source);
        dpt_free(layer->name);
        dpt_free(layer->shared);
    }
    dpt_free(all->layer);
    dpt_free(all->order);
    dpt_free(all->output);
    dpt_free(all->file);
    dpt_free(all->text);
    dpt_free(all);
}

static dpt_status build_layer(const dpt_layers *all, dpt_graph *g, int64_t classes, int64_t i, dpt_tensor **input,
                              dpt_tensor **made) {
    const dpt_layer *layer = &all->layer[i];
    int n = layer->from_count ? (int)layer->from_count : 1;
    dpt_tensor **from = dpt_alloc_zero((size_t)n, sizeof(dpt_tensor *));
    DPT_CHECK_ALLOC(from);
    for (int k = 0; k < n; k++) {
        int64_t source = layer->source[k];
        from[k] = source < 0 ? input[-1 - source] : made[source];
    }
    const dpt_layer_call call = {.type = layer->type,
                                 .file = all->file,
                                 .line = layer->line,
                                 .name = layer->name,
                                 .shared = layer->shared,
                                 .from = from,
                                 .n_from = n,
                                 .value = layer->value,
                                 .classes = classes,
                                 .graph = g};
    made[i] = layer->type->build(&call);
    dpt_free(from);
    dpt_status status = dpt_graph_status(g);
    if (status == DPT_OK || status == DPT_ERR_MEMORY) return status;
    char *text = dpt_strdup(dpt_last_error());
    DPT_CHECK_ALLOC(text);
    dpt_error(status, "%s (layer \"%s\")", text, layer->name);
    dpt_free(text);
    return status;
}

/* What `out: classes` is in layer i: as its own target says, or the first. */
static int64_t classes_of(const dpt_layers *all, const dpt_model_options *o, int64_t i) {
    for (int t = 0; t < all->outputs; t++)
        if (all->output[t] == i) return o[t].classes;
    return o[0].classes;
}

static dpt_status build(const dpt_layers *all, dpt_graph *g, const dpt_model_options *o, dpt_tensor **input,
                        dpt_tensor **made) {
    for (int64_t n = 0; n < all->count; n++) {
        int64_t i = all->order[n];
        DPT_TRY(build_layer(all, g, classes_of(all, o, i), i, input, made));
    }
    for (int t = 0; t < all->outputs; t++) {
        int64_t i = all->output[t];
        dpt_status status = dpt_model_finish(g, &o[t], made[i]);
        if (status == DPT_ERR_MEMORY) return status;
        if (status != DPT_OK) return dpt_error_prefix(status, "%s:%d: ", all->file, all->layer[i].line);
    }
    return DPT_OK;
}

dpt_status dpt_layers_build_ends(const dpt_layers *all, dpt_graph *g, const dpt_model_input_of *inputs,
                                 const dpt_model_options *o) {
    dpt_status status;
    dpt_tensor **made = dpt_alloc_zero((size_t)all->count, sizeof(dpt_tensor *));
    dpt_tensor **input = dpt_alloc_zero((size_t)all->inputs, sizeof(dpt_tensor *));
    DPT_CHECK_ALLOC_GOTO(made, fail);
    DPT_CHECK_ALLOC_GOTO(input, fail);
    for (int t = 0; t < all->outputs; t++) DPT_TRY_GOTO(dpt_model_check(all->file, &o[t]), fail);
    for (int k = 0; k < all->inputs; k++) input[k] = dpt_model_input_made(g, &inputs[k]);
    DPT_TRY_GOTO(dpt_graph_status(g), fail);
    status = build(all, g, o, input, made);
fail:
    dpt_free(made);
    dpt_free(input);
    return status;
}

dpt_status dpt_layers_build(const dpt_layers *all, dpt_graph *g, const dpt_model_options *o) {
    dpt_model_input_of input = {.name = o->input, .dtype = DPT_F32, .ndim = o->in_ndim};
    DPT_CHECK(all->inputs == 1 && all->outputs == 1, DPT_ERR_ARG, "%s: %d inputs and %d outputs", all->file,
              all->inputs, all->outputs);
    DPT_TRY(dpt_model_check(all->file, o));
    memcpy(input.dim, o->in_dim, sizeof input.dim);
    return dpt_layers_build_ends(all, g, &input, o);
}
