/* layer_yaml.c: the file of a list of layers, by libyaml's document: repeats are written out, {i} in names replaced,
 * and every layer is checked by itself. What is wrong is said with the line of the node. Invariant: blocks nest at most
 * DEEPEST times and all layers together are at most MOST_LAYERS, so aliases cannot make a list endless. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/memory.h"
#include "base/text.h"
#include "models/layer_types.h"

enum { DEEPEST = 3, MOST_LAYERS = 10000, LONGEST_NAME = 96 };

typedef struct reader {
    yaml_document_t document;
    dpt_layers *layers;
    int64_t turn[DEEPEST]; /* of the repeats around the item at hand, from 1 */
    int depth;             /* of repeats */
    int nesting;           /* of blocks */
} reader;

static dpt_status at(const reader *r, const yaml_node_t *node, dpt_status status) {
    if (status == DPT_OK || status == DPT_ERR_MEMORY) return status;
    return dpt_error_prefix(status, "%s:%zu: ", r->layers->file, node->start_mark.line + 1);
}

static yaml_node_t *get(reader *r, int index) { return yaml_document_get_node(&r->document, index); }
static const char *text_of(const yaml_node_t *n) {
    return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

/* The value under a key of a mapping; NULL: it is not there. */
static yaml_node_t *find(reader *r, const yaml_node_t *map, const char *key) {
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const char *text = text_of(get(r, p->key));
        if (text && strcmp(text, key) == 0) return get(r, p->value);
    }
    return NULL;
}

static dpt_status parse_number(const char *what, const yaml_node_t *node, double low, double high, double *out) {
    const char *text = text_of(node);
    char *end = NULL;
    double x = text ? strtod(text, &end) : 0;
    DPT_CHECK(text && end != text && *end == 0 && isfinite(x), DPT_ERR_CONFIG, "%s: \"%s\" is not a number", what,
              text ? text : "a list or block");
    DPT_CHECK(x >= low && x <= high, DPT_ERR_CONFIG, "%s: %s is not in [%.10g, %.10g]", what, text, low, high);
    *out = x;
    return DPT_OK;
}

static dpt_status parse_integer(const char *what, const yaml_node_t *node, double low, double high, double *out) {
    DPT_TRY(parse_number(what, node, low, high, out));
    DPT_CHECK(*out == floor(*out), DPT_ERR_CONFIG, "%s: %s is not an integer", what, text_of(node));
    return DPT_OK;
}

/* ---- names ---- */

/* "{i}", "{j-1}" at *text: its number is appended; *text moves behind it. */
static dpt_status put_turn(const reader *r, const char **text, char *out, size_t *length) {
    const char *p = *text;
    int level = p[1] - 'i';
    char *end = NULL;
    long more = p[1] && (p[2] == '+' || p[2] == '-') ? strtol(p + 2, &end, 10) : 0;
    const char *close = end ? end : p[1] ? p + 2 : p + 1;
    bool near = more >= -MOST_LAYERS && more <= MOST_LAYERS;
    DPT_CHECK(level >= 0 && level < r->depth && *close == '}' && near, DPT_ERR_CONFIG,
              "\"%s\": {i} is the number of the outermost repeat, {j} and {k} of those inside; {i-1} is allowed", p);
    *length = dpt_append(out, LONGEST_NAME, *length, "%lld", (long long)(r->turn[level] + more));
    *text = close + 1;
    return DPT_OK;
}

/* A name with the numbers of its repeats put in. */
static dpt_status expand(const reader *r, const yaml_node_t *node, char **name) {
    char out[LONGEST_NAME] = "";
    size_t length = 0;
    const char *text = text_of(node);
    *name = NULL;
    DPT_CHECK(text && text[0], DPT_ERR_CONFIG, "a name is missing");
    while (*text) {
        if (*text == '{')
            DPT_TRY(put_turn(r, &text, out, &length));
        else
            length = dpt_append(out, sizeof out, length, "%c", *text++);
        DPT_CHECK(length + 1 < sizeof out, DPT_ERR_CONFIG, "a name of more than %d letters", LONGEST_NAME - 2);
    }
    *name = dpt_strdup(out);
    DPT_CHECK_ALLOC(*name);
    return DPT_OK;
}

/* ---- options ---- */

static dpt_status parse_word(const dpt_layer_option *o, const char *text, double *out) {
    const char *words = o->kind == DPT_OPTION_FLAG ? "false|true" : o->words;
    *out = 0;
    for (const char *w = words;; (*out)++) {
        size_t n = strcspn(w, "|");
        if (text && strlen(text) == n && memcmp(text, w, n) == 0) return DPT_OK;
        if (w[n] == 0) break;
        w += n + 1;
    }
    return dpt_error(DPT_ERR_CONFIG, "%s: \"%s\" is none of %s", o->name, text ? text : "a list or block", words);
}

static dpt_status parse_sizes(reader *r, const dpt_layer_option *o, const yaml_node_t *node, dpt_layer_value *v) {
    if (node->type != YAML_SEQUENCE_NODE) {
        v->count = 1;
        return parse_integer(o->name, node, o->low, o->high, &v->number[0]);
    }
    int64_t count = node->data.sequence.items.top - node->data.sequence.items.start;
    DPT_CHECK(count >= 1 && count <= DPT_LAYER_SIZES, DPT_ERR_CONFIG, "%s: a list of %lld numbers (1 to %d)", o->name,
              (long long)count, DPT_LAYER_SIZES);
    for (int64_t i = 0; i < count; i++)
        DPT_TRY(parse_integer(o->name, get(r, node->data.sequence.items.start[i]), o->low, o->high, &v->number[i]));
    v->count = (int)count;
    return DPT_OK;
}

static dpt_status parse_value(reader *r, const dpt_layer_option *o, const yaml_node_t *node, dpt_layer_value *v) {
    const char *text = text_of(node);
    v->count = 1;
    switch (o->kind) {
        case DPT_OPTION_SIZES: return parse_sizes(r, o, node, v);
        case DPT_OPTION_NUMBER: return parse_number(o->name, node, o->low, o->high, &v->number[0]);
        case DPT_OPTION_FLAG:
        case DPT_OPTION_WORD: return parse_word(o, text, &v->number[0]);
        case DPT_OPTION_INT:
            v->number[0] = DPT_LAYER_CLASSES;
            if (text && strcmp(text, "classes") == 0 && o->low == 1) return DPT_OK;
            return parse_integer(o->name, node, o->low, o->high, &v->number[0]);
        case DPT_OPTION_NONE: break;
    }
    return dpt_error(DPT_ERR_INTERNAL, "option %s", o->name);
}

static const char *const layer_keys[] = {"type", "name", "from", "shared", "repeat", "layers"};
enum { LAYER_KEYS = sizeof layer_keys / sizeof *layer_keys };

static bool is_layer_key(const char *key) {
    for (int i = 0; i < LAYER_KEYS; i++)
        if (strcmp(key, layer_keys[i]) == 0) return true;
    return false;
}

static dpt_status unknown_option(const dpt_layer_type *type, const char *key) {
    const char *known[DPT_LAYER_OPTIONS + LAYER_KEYS];
    char all[256] = "none";
    size_t length = 0;
    int count = 0;
    for (; type->option[count].kind != DPT_OPTION_NONE; count++) {
        known[count] = type->option[count].name;
        length = dpt_append(all, sizeof all, length, "%s%s", count ? ", " : "", known[count]);
    }
    for (int i = 0; i < LAYER_KEYS - 1; i++) known[count++] = layer_keys[i];
    const char *nearest = dpt_nearest(key, known, count);
    if (nearest)
        return dpt_error(DPT_ERR_CONFIG, "%s has no option \"%s\"; did you mean %s?", type->name, key, nearest);
    return dpt_error(DPT_ERR_CONFIG, "%s has no option \"%s\"; its options: %s", type->name, key, all);
}

static dpt_status read_options(reader *r, const yaml_node_t *map, dpt_layer *layer) {
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        yaml_node_t *key = get(r, p->key);
        const char *text = text_of(key);
        if (text == NULL) return at(r, key, dpt_error(DPT_ERR_CONFIG, "a key must be a name"));
        if (find(r, map, text) != get(r, p->value))
            return at(r, key, dpt_error(DPT_ERR_CONFIG, "%s is given twice", text));
        if (is_layer_key(text)) continue;
        int i = dpt_layer_option_find(layer->type, text);
        if (i < 0) return at(r, key, unknown_option(layer->type, text));
        DPT_TRY(at(r, key, parse_value(r, &layer->type->option[i], get(r, p->value), &layer->value[i])));
    }
    for (int i = 0; layer->type->option[i].kind != DPT_OPTION_NONE; i++) {
        const dpt_layer_option *o = &layer->type->option[i];
        bool useless = layer->shared && o->of_parameters, has = layer->value[i].count > 0;
        if (useless && has)
            return at(r, map,
                      dpt_error(DPT_ERR_CONFIG, "%s does nothing beside shared: the parameters of \"%s\" have it",
                                o->name, layer->shared));
        if (o->needed && !has && !useless)
            return at(r, map, dpt_error(DPT_ERR_CONFIG, "%s \"%s\" needs %s", layer->type->name, layer->name, o->name));
    }
    return DPT_OK;
}

/* ---- layers ---- */

static dpt_status add_from(reader *r, dpt_layer *layer, const yaml_node_t *node) {
    DPT_GROW(layer->from, layer->from_count, layer->from_capacity);
    layer->from[layer->from_count] = NULL;
    DPT_TRY(at(r, node, expand(r, node, &layer->from[layer->from_count++])));
    return DPT_OK;
}

static dpt_status read_from(reader *r, const yaml_node_t *map, dpt_layer *layer) {
    yaml_node_t *from = find(r, map, "from");
    const dpt_layer_type *type = layer->type;
    if (from && from->type == YAML_SEQUENCE_NODE)
        for (yaml_node_item_t *i = from->data.sequence.items.start; i < from->data.sequence.items.top; i++)
            DPT_TRY(add_from(r, layer, get(r, *i)));
    else if (from)
        DPT_TRY(add_from(r, layer, from));
    int64_t count = layer->from_count ? layer->from_count : 1;
    if (count >= type->least_from && count <= type->most_from) return DPT_OK;
    return at(r, map,
              dpt_error(DPT_ERR_CONFIG, "%s \"%s\" takes from %lld layer%s, but needs %s%d (from: [a, b])", type->name,
                        layer->name, (long long)count, count == 1 ? "" : "s",
                        type->most_from > type->least_from ? "at least " : "", type->least_from));
}

static dpt_status read_type(reader *r, const yaml_node_t *map, const dpt_layer_type **type) {
    yaml_node_t *node = find(r, map, "type");
    const char *text = node ? text_of(node) : NULL;
    if (text == NULL) return at(r, map, dpt_error(DPT_ERR_CONFIG, "a layer has no type"));
    *type = dpt_layer_type_find(text);
    if (*type) return DPT_OK;
    const char *known[64];
    int count = 0;
    for (; count < dpt_layer_type_count && count < 64; count++) known[count] = dpt_layer_types[count].name;
    const char *nearest = dpt_nearest(text, known, count);
    return at(r, node,
              nearest ? dpt_error(DPT_ERR_CONFIG, "no layer type \"%s\"; did you mean %s?", text, nearest)
                      : dpt_error(DPT_ERR_CONFIG, "no layer type \"%s\"; docs/layers.md lists them", text));
}

static dpt_status name_layer(reader *r, const yaml_node_t *map, dpt_layer *layer) {
    yaml_node_t *node = find(r, map, "name");
    if (node) {
        DPT_TRY(at(r, node, expand(r, node, &layer->name)));
        if (strcmp(layer->name, "input") != 0) return DPT_OK;
        return at(r, node, dpt_error(DPT_ERR_CONFIG, "\"input\" is the model's input: another name"));
    }
    int64_t same = 0;
    for (int64_t i = 0; i < r->layers->count; i++) same += r->layers->layer[i].type == layer->type;
    layer->name = dpt_format("%s%lld", layer->type->name, (long long)same);
    DPT_CHECK_ALLOC(layer->name);
    return DPT_OK;
}

static dpt_status read_layer(reader *r, const yaml_node_t *map) {
    dpt_layers *all = r->layers;
    const dpt_layer_type *type;
    DPT_TRY(read_type(r, map, &type));
    if (all->count == MOST_LAYERS) return at(r, map, dpt_error(DPT_ERR_CONFIG, "more than %d layers", MOST_LAYERS));
    DPT_GROW(all->layer, all->count, all->capacity);
    dpt_layer *layer = &all->layer[all->count++];
    *layer = (dpt_layer){.type = type, .line = (int)map->start_mark.line + 1};
    DPT_TRY(name_layer(r, map, layer));
    DPT_TRY(read_from(r, map, layer));
    yaml_node_t *shared = find(r, map, "shared");
    if (shared) DPT_TRY(at(r, shared, expand(r, shared, &layer->shared)));
    if (shared && !type->shares)
        return at(r, shared, dpt_error(DPT_ERR_CONFIG, "%s has no parameters that can be shared", type->name));
    return read_options(r, map, layer);
}

static dpt_status read_items(reader *r, const yaml_node_t *list);

static dpt_status read_block(reader *r, const yaml_node_t *map, const yaml_node_t *list) {
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; list && p < map->data.mapping.pairs.top; p++) {
        const char *key = text_of(get(r, p->key));
        if (key && (strcmp(key, "repeat") == 0 || strcmp(key, "layers") == 0)) continue;
        return at(r, get(r, p->key),
                  dpt_error(DPT_ERR_CONFIG, "\"%s\" in a block: it has layers and repeat only", key ? key : "a list"));
    }
    return list ? read_items(r, list) : read_layer(r, map);
}

/* A layer or a block, as often as its repeat says. */
static dpt_status read_item(reader *r, const yaml_node_t *map) {
    if (map->type != YAML_MAPPING_NODE)
        return at(r, map, dpt_error(DPT_ERR_CONFIG, "a layer is written as {type: ..., ...}"));
    yaml_node_t *repeat = find(r, map, "repeat"), *list = find(r, map, "layers");
    double turns = 1;
    if (repeat) DPT_TRY(at(r, repeat, parse_integer("repeat", repeat, 1, MOST_LAYERS, &turns)));
    if (!repeat && !list) return read_layer(r, map);
    if (r->depth == DEEPEST || r->nesting == DEEPEST)
        return at(r, map, dpt_error(DPT_ERR_CONFIG, "blocks more than %d deep", DEEPEST));
    int level = r->depth;
    r->depth += repeat != NULL;
    r->nesting += list != NULL;
    for (int64_t i = 1; i <= (int64_t)turns; i++) {
        if (repeat) r->turn[level] = i;
        DPT_TRY(read_block(r, map, list));
    }
    r->depth = level;
    r->nesting -= list != NULL;
    return DPT_OK;
}

static dpt_status read_items(reader *r, const yaml_node_t *list) {
    bool empty = list->type != YAML_SEQUENCE_NODE || list->data.sequence.items.start == list->data.sequence.items.top;
    if (empty) return at(r, list, dpt_error(DPT_ERR_CONFIG, "layers: a list of layers is expected"));
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++)
        DPT_TRY(read_item(r, get(r, *i)));
    return DPT_OK;
}

/* The list under "layers", or in a config under "model". */
static dpt_status read_root(reader *r) {
    yaml_node_t *root = yaml_document_get_root_node(&r->document);
    if (root == NULL || root->type != YAML_MAPPING_NODE)
        return dpt_error(DPT_ERR_CONFIG, "%s: \"layers:\" is expected", r->layers->file);
    yaml_node_t *model = find(r, root, "model");
    if (model && model->type == YAML_MAPPING_NODE) root = model;
    yaml_node_t *list = find(r, root, "layers");
    if (list == NULL) return at(r, root, dpt_error(DPT_ERR_CONFIG, "there is no \"layers:\" here"));
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        yaml_node_t *key = get(r, p->key);
        if (text_of(key) == NULL || strcmp(text_of(key), "layers") != 0)
            return at(r, key,
                      dpt_error(DPT_ERR_CONFIG, "\"%s\" beside \"layers\"", text_of(key) ? text_of(key) : "a list"));
    }
    return read_items(r, list);
}

static dpt_status syntax_error(const dpt_layers *layers, const yaml_parser_t *p) {
    if (p->error == YAML_MEMORY_ERROR) return dpt_error(DPT_ERR_MEMORY, "%s: out of memory", layers->file);
    return dpt_error(DPT_ERR_CONFIG, "%s:%zu: not valid YAML: %s%s%s", layers->file, p->problem_mark.line + 1,
                     p->problem ? p->problem : "cannot be parsed", p->context ? " " : "", p->context ? p->context : "");
}

dpt_status dpt_layers_read_yaml(dpt_layers *layers, const char *text, size_t bytes) {
    yaml_parser_t parser;
    DPT_CHECK(yaml_parser_initialize(&parser), DPT_ERR_MEMORY, "%s: out of memory", layers->file);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    reader r = {.layers = layers};
    dpt_status status = yaml_parser_load(&parser, &r.document) ? DPT_OK : syntax_error(layers, &parser);
    if (status == DPT_OK) {
        status = read_root(&r);
        yaml_document_delete(&r.document);
    }
    yaml_parser_delete(&parser);
    return status;
}
