/* layer_join.c: how the layers of a list hang together: names to indices, and an order in which each comes after those
 * that it takes from, found by walking from every layer to its sources. A layer met again on its own way is a circle.
 */
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "models/layer_types.h"

typedef enum mark { NEW, UNDER_WAY, DONE } mark;

typedef struct walk {
    dpt_layers *layers;
    mark *mark;
    int64_t *path; /* layers under way, from where the walk began */
    int64_t length, placed;
} walk;

static dpt_status blame(const dpt_layers *all, int64_t i, dpt_status status) {
    return dpt_error_prefix(status, "%s:%d: ", all->file, all->layer[i].line);
}

static int64_t find(const dpt_layers *all, const char *name) {
    for (int64_t i = 0; i < all->count; i++)
        if (strcmp(all->layer[i].name, name) == 0) return i;
    return -1;
}

static dpt_status unknown_name(const dpt_layers *all, const char *what, const char *name) {
    const char **known = dpt_alloc_zero((size_t)all->count + 1, sizeof *known);
    DPT_CHECK_ALLOC(known);
    for (int64_t i = 0; i < all->count; i++) known[i] = all->layer[i].name;
    known[all->count] = "input";
    const char *nearest = dpt_nearest(name, known, all->count + 1);
    dpt_status status = nearest
                            ? dpt_error(DPT_ERR_CONFIG, "%s: no layer \"%s\"; did you mean %s?", what, name, nearest)
                            : dpt_error(DPT_ERR_CONFIG, "%s: no layer \"%s\"", what, name);
    dpt_free(known);
    return status;
}

static dpt_status check_names(const dpt_layers *all) {
    for (int64_t i = 0; i < all->count; i++) {
        int64_t first = find(all, all->layer[i].name);
        if (first != i)
            return blame(all, i,
                         dpt_error(DPT_ERR_CONFIG, "the name \"%s\" is taken by line %d", all->layer[i].name,
                                   all->layer[first].line));
    }
    return DPT_OK;
}

static dpt_status find_sources(dpt_layers *all, int64_t i) {
    dpt_layer *layer = &all->layer[i];
    int64_t count = layer->from_count ? layer->from_count : 1;
    layer->source = dpt_alloc_zero((size_t)count, sizeof *layer->source);
    DPT_CHECK_ALLOC(layer->source);
    layer->source[0] = i - 1; /* DPT_LAYER_INPUT for the first */
    for (int64_t k = 0; k < layer->from_count; k++) {
        bool is_input = strcmp(layer->from[k], "input") == 0;
        layer->source[k] = is_input ? DPT_LAYER_INPUT : find(all, layer->from[k]);
        if (layer->source[k] < 0 && !is_input) return blame(all, i, unknown_name(all, "from", layer->from[k]));
    }
    layer->lender = layer->shared ? find(all, layer->shared) : -1;
    if (layer->shared == NULL) return DPT_OK;
    if (layer->lender < 0) return blame(all, i, unknown_name(all, "shared", layer->shared));
    const dpt_layer *lender = &all->layer[layer->lender];
    if (lender->type == layer->type && lender->shared == NULL) return DPT_OK;
    return blame(
        all, i,
        dpt_error(DPT_ERR_CONFIG, "shared: \"%s\" is a %s%s, not a %s with parameters of its own", lender->name,
                  lender->type->name, lender->shared ? " that shares another's" : "", layer->type->name));
}

static dpt_status name_circle(const walk *w, int64_t again) {
    const dpt_layers *all = w->layers;
    char text[400] = "";
    size_t length = 0;
    int64_t begin = 0, last = w->path[w->length - 1];
    while (w->path[begin] != again) begin++;
    /* the path goes from takers to sources: values flow the other way */
    for (int64_t i = w->length - 1; i >= begin; i--)
        length = dpt_append(text, sizeof text, length, "%s -> ", all->layer[w->path[i]].name);
    dpt_append(text, sizeof text, length, "%s", all->layer[last].name);
    return blame(all, last, dpt_error(DPT_ERR_CONFIG, "a circle: %s", text));
}

/* Places layer i behind its sources. A list without `from` is as deep as it is long, so the way is kept by hand. */
static dpt_status place(walk *w, int64_t first) {
    w->length = 0;
    w->path[w->length++] = first;
    w->mark[first] = UNDER_WAY;
    while (w->length) {
        int64_t i = w->path[w->length - 1], next = -1;
        const dpt_layer *layer = &w->layers->layer[i];
        int64_t count = layer->from_count ? layer->from_count : 1;
        for (int64_t k = 0; k <= count && next < 0; k++) {
            int64_t source = k < count ? layer->source[k] : layer->lender;
            if (source < 0 || w->mark[source] == DONE) continue;
            if (w->mark[source] == UNDER_WAY) return name_circle(w, source);
            next = source;
        }
        if (next >= 0) {
            w->mark[next] = UNDER_WAY;
            w->path[w->length++] = next;
            continue;
        }
        w->mark[i] = DONE;
        w->layers->order[w->placed++] = i;
        w->length--;
    }
    return DPT_OK;
}

static dpt_status check_used(const dpt_layers *all, mark *used) {
    memset(used, 0, (size_t)all->count * sizeof *used);
    for (int64_t i = 0; i < all->count; i++)
        for (int64_t k = 0; k == 0 || k < all->layer[i].from_count; k++)
            if (all->layer[i].source[k] >= 0) used[all->layer[i].source[k]] = DONE;
    for (int64_t i = 0; i + 1 < all->count; i++)
        if (!used[i])
            return blame(all, i,
                         dpt_error(DPT_ERR_CONFIG, "the output of \"%s\" goes nowhere: no layer takes from it",
                                   all->layer[i].name));
    return DPT_OK;
}

dpt_status dpt_layers_join(dpt_layers *all) {
    dpt_status status;
    walk w = {.layers = all};
    DPT_TRY(check_names(all));
    for (int64_t i = 0; i < all->count; i++) DPT_TRY(find_sources(all, i));
    all->order = dpt_alloc_zero((size_t)all->count, sizeof *all->order);
    w.mark = dpt_alloc_zero((size_t)all->count, sizeof *w.mark);
    w.path = dpt_alloc_zero((size_t)all->count, sizeof *w.path);
    DPT_CHECK_ALLOC_GOTO(all->order && w.mark && w.path ? all : NULL, fail);
    for (int64_t i = 0; i < all->count; i++)
        if (w.mark[i] == NEW) DPT_TRY_GOTO(place(&w, i), fail);
    DPT_TRY_GOTO(check_used(all, w.mark), fail);
fail:
    dpt_free(w.mark);
    dpt_free(w.path);
    return status;
}
