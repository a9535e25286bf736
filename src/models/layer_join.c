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
    const dpt_layers_ends *ends;
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

/* The number of an input; a sole one is also called "input". -1: none. */
static int find_input(const dpt_layers_ends *ends, const char *name) {
    for (int k = 0; k < ends->inputs; k++)
        if (strcmp(ends->input[k], name) == 0) return k;
    return ends->inputs == 1 && strcmp(name, "input") == 0 ? 0 : -1;
}

/* ends: NULL where an input would not do either. */
static dpt_status unknown_name(const dpt_layers *all, const dpt_layers_ends *ends, const char *what, const char *name) {
    int64_t inputs = ends ? ends->inputs : 0;
    const char **known = dpt_alloc_zero((size_t)(all->count + inputs) + 1, sizeof *known);
    char there[200] = "";
    size_t length = 0;
    DPT_CHECK_ALLOC(known);
    for (int64_t i = 0; i < all->count; i++) known[i] = all->layer[i].name;
    for (int64_t k = 0; k < inputs; k++) {
        known[all->count + k] = ends->input[k];
        length = dpt_append(there, sizeof there, length, "%s%s", k ? ", " : "; the inputs are ", ends->input[k]);
    }
    const char *nearest = dpt_nearest(name, known, all->count + inputs);
    if (inputs == 1) there[0] = '\0';
    dpt_status status = nearest ? dpt_error(DPT_ERR_CONFIG, "%s: no layer%s \"%s\"; did you mean %s?%s", what,
                                            inputs > 1 ? " or input" : "", name, nearest, there)
                                : dpt_error(DPT_ERR_CONFIG, "%s: no layer%s \"%s\"%s", what,
                                            inputs > 1 ? " or input" : "", name, there);
    dpt_free(known);
    return status;
}

static dpt_status check_names(const dpt_layers *all, const dpt_layers_ends *ends) {
    for (int64_t i = 0; i < all->count; i++) {
        if (find_input(ends, all->layer[i].name) >= 0)
            return blame(all, i,
                         dpt_error(DPT_ERR_CONFIG, "\"%s\" is the name of an input: another name", all->layer[i].name));
        int64_t first = find(all, all->layer[i].name);
        if (first != i)
            return blame(all, i,
                         dpt_error(DPT_ERR_CONFIG, "the name \"%s\" is taken by line %d", all->layer[i].name,
                                   all->layer[first].line));
    }
    return DPT_OK;
}

static dpt_status find_sources(dpt_layers *all, const dpt_layers_ends *ends, int64_t i) {
    dpt_layer *layer = &all->layer[i];
    int64_t count = layer->from_count ? layer->from_count : 1;
    layer->source = dpt_alloc_zero((size_t)count, sizeof *layer->source);
    DPT_CHECK_ALLOC(layer->source);
    layer->source[0] = i - 1; /* the first input for the first layer */
    for (int64_t k = 0; k < layer->from_count; k++) {
        int input = find_input(ends, layer->from[k]);
        layer->source[k] = input >= 0 ? -1 - input : find(all, layer->from[k]);
        if (layer->source[k] < 0 && input < 0) return blame(all, i, unknown_name(all, ends, "from", layer->from[k]));
    }
    layer->lender = layer->shared ? find(all, layer->shared) : -1;
    if (layer->shared == NULL) return DPT_OK;
    if (layer->lender < 0) return blame(all, i, unknown_name(all, NULL, "shared", layer->shared));
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

/* The layers that predict. */
static dpt_status find_outputs(dpt_layers *all, const dpt_layers_ends *ends) {
    all->inputs = ends->inputs;
    all->outputs = ends->output ? ends->outputs : 1;
    all->output = dpt_alloc_zero((size_t)all->outputs, sizeof *all->output);
    DPT_CHECK_ALLOC(all->output);
    for (int t = 0; t < all->outputs; t++) {
        all->output[t] = ends->output ? find(all, ends->output[t]) : all->count - 1;
        if (all->output[t] < 0)
            return dpt_error_prefix(unknown_name(all, NULL, "a target's layer", ends->output[t]), "%s: ", all->file);
    }
    return DPT_OK;
}

static dpt_status check_used(const walk *w) {
    const dpt_layers *all = w->layers;
    mark *used = w->mark, input[64] = {NEW};
    memset(used, 0, (size_t)all->count * sizeof *used);
    for (int64_t i = 0; i < all->count; i++)
        for (int64_t k = 0; k == 0 || k < all->layer[i].from_count; k++) {
            int64_t source = all->layer[i].source[k];
            *(source < 0 ? &input[-1 - source] : &used[source]) = DONE;
        }
    for (int t = 0; t < all->outputs; t++) used[all->output[t]] = DONE;
    for (int64_t i = 0; i < all->count; i++)
        if (!used[i])
            return blame(all, i,
                         dpt_error(DPT_ERR_CONFIG, "the output of \"%s\" goes nowhere: no layer takes from it",
                                   all->layer[i].name));
    for (int k = 0; k < w->ends->inputs; k++)
        DPT_CHECK(input[k] || w->ends->inputs == 1, DPT_ERR_CONFIG, "%s: no layer takes the input \"%s\" (from: %s)",
                  all->file, w->ends->input[k], w->ends->input[k]);
    return DPT_OK;
}

dpt_status dpt_layers_join(dpt_layers *all, const dpt_layers_ends *ends) {
    dpt_status status;
    walk w = {.layers = all, .ends = ends};
    DPT_CHECK(ends->inputs >= 1 && ends->inputs <= 64, DPT_ERR_ARG, "%s: %d inputs", all->file, ends->inputs);
    DPT_TRY(check_names(all, ends));
    for (int64_t i = 0; i < all->count; i++) DPT_TRY(find_sources(all, ends, i));
    DPT_TRY(find_outputs(all, ends));
    all->order = dpt_alloc_zero((size_t)all->count, sizeof *all->order);
    w.mark = dpt_alloc_zero((size_t)all->count, sizeof *w.mark);
    w.path = dpt_alloc_zero((size_t)all->count, sizeof *w.path);
    DPT_CHECK_ALLOC_GOTO(all->order && w.mark && w.path ? all : NULL, fail);
    for (int64_t i = 0; i < all->count; i++)
        if (w.mark[i] == NEW) DPT_TRY_GOTO(place(&w, i), fail);
    DPT_TRY_GOTO(check_used(&w), fail);
fail:
    dpt_free(w.mark);
    dpt_free(w.path);
    return status;
}
