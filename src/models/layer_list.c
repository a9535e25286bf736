/* layer_list.c: see layer_list.h. layer_yaml.c reads, layer_join.c joins, layer_types.c knows the types. */
#include "models/layer_list.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "models/ends.h"
#include "models/layer_types.h"

enum { LARGEST_FILE = 1 << 20 };

dpt_status dpt_layers_parse(const char *file, const char *text, size_t bytes, dpt_layers **layers) {
    dpt_status status;
    *layers = NULL;
    dpt_layers *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    made->file = dpt_strdup(file);
    DPT_CHECK_ALLOC_GOTO(made->file, fail);
    DPT_TRY_GOTO(dpt_layers_read_yaml(made, text, bytes), fail);
    DPT_TRY_GOTO(dpt_layers_join(made), fail);
    *layers = made;
    return DPT_OK;
fail:
    dpt_layers_destroy(&made);
    return status;
}

dpt_status dpt_layers_read(const char *path, dpt_layers **layers) {
    char *text;
    size_t bytes;
    *layers = NULL;
    DPT_TRY(dpt_file_read("layers", path, DPT_ERR_CONFIG, LARGEST_FILE, &text, &bytes));
    dpt_status status = dpt_layers_parse(path, text, bytes, layers);
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
    dpt_free(all->file);
    dpt_free(all->text);
    dpt_free(all);
}

static dpt_status build_layer(const dpt_layers *all, dpt_graph *g, int64_t classes, int64_t i, dpt_tensor *input,
                              dpt_tensor **made) {
    const dpt_layer *layer = &all->layer[i];
    int n = layer->from_count ? (int)layer->from_count : 1;
    dpt_tensor **from = dpt_alloc_zero((size_t)n, sizeof(dpt_tensor *));
    DPT_CHECK_ALLOC(from);
    for (int k = 0; k < n; k++) from[k] = layer->source[k] == DPT_LAYER_INPUT ? input : made[layer->source[k]];
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

dpt_status dpt_layers_build(const dpt_layers *all, dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check(all->file, o));
    dpt_tensor **made = dpt_alloc_zero((size_t)all->count, sizeof(dpt_tensor *)), *input = dpt_model_input(g, o);
    DPT_CHECK_ALLOC(made);
    dpt_status status = dpt_graph_status(g);
    for (int64_t i = 0; i < all->count && status == DPT_OK; i++)
        status = build_layer(all, g, o->classes, all->order[i], input, made);
    const bool built = status == DPT_OK;
    if (built) status = dpt_model_finish(g, o, made[all->count - 1]);
    dpt_free(made);
    if (status == DPT_OK || status == DPT_ERR_MEMORY || !built) return status;
    return dpt_error_prefix(status, "%s:%d: ", all->file, all->layer[all->count - 1].line);
}
