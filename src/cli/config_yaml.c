/* config_yaml.c: the config file, by libyaml's event parser, which knows line and column of everything. Sections nest
 * only as the table's keys do, so depth is bounded; anchors, aliases, tags and second documents are refused. The reader
 * holds one event at a time and frees it when the next is taken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/memory.h"
#include "cli/config_table.h"

enum { LONGEST_PATH = 128 };

typedef struct yaml_reader {
    yaml_parser_t parser;
    yaml_event_t event; /* its type is YAML_NO_EVENT where there is none */
    const char *file, *text;
    dpt_config *config;
    dpt_config_origin *origin;
    char seen[DPT_CONFIG_KEY_COUNT][LONGEST_PATH]; /* sections; there are fewer than keys */
    int seen_count;
} yaml_reader;

/* Puts "file:line:column: " before the message of a failed status. */
static dpt_status at(const yaml_reader *r, yaml_mark_t mark, dpt_status status) {
    if (status != DPT_ERR_CONFIG) return status;
    return dpt_error_prefix(status, "%s:%zu:%zu: ", r->file, mark.line + 1, mark.column + 1);
}

static dpt_status syntax_error(const yaml_reader *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return dpt_error(DPT_ERR_MEMORY, "%s: out of memory", r->file);
    yaml_mark_t mark = p->problem_mark;
    if (p->error == YAML_READER_ERROR) { /* not UTF-8 and the like: only the byte is known */
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < p->problem_offset; i++) {
            mark.column = r->text[i] == '\n' ? 0 : mark.column + 1;
            mark.line += r->text[i] == '\n';
        }
    }
    const char *problem = p->problem ? p->problem : "cannot be parsed";
    return at(r, mark,
              dpt_error(DPT_ERR_CONFIG, "not valid YAML: %s%s%s", problem, p->context ? " " : "",
                        p->context ? p->context : ""));
}

/* Anchors and tags have the same meaning in three kinds of event. */
static bool is_marked(const yaml_event_t *e) {
    switch (e->type) {
        case YAML_SCALAR_EVENT: return e->data.scalar.anchor || e->data.scalar.tag;
        case YAML_SEQUENCE_START_EVENT: return e->data.sequence_start.anchor || e->data.sequence_start.tag;
        case YAML_MAPPING_START_EVENT: return e->data.mapping_start.anchor || e->data.mapping_start.tag;
        default: return false;
    }
}

static dpt_status next(yaml_reader *r) {
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        r->event.type = YAML_NO_EVENT;
        return syntax_error(r);
    }
    const yaml_event_t *e = &r->event;
    if (e->type == YAML_ALIAS_EVENT)
        return at(r, e->start_mark,
                  dpt_error(DPT_ERR_CONFIG, "\"*%s\" is an alias, which is not taken here; a pattern needs quotes",
                            (const char *)e->data.alias.anchor));
    if (is_marked(e)) return at(r, e->start_mark, dpt_error(DPT_ERR_CONFIG, "anchors (&) and tags (!) are not taken"));
    if (e->type == YAML_SCALAR_EVENT && memchr(e->data.scalar.value, '\0', e->data.scalar.length))
        return at(r, e->start_mark, dpt_error(DPT_ERR_CONFIG, "a zero byte in a text"));
    return DPT_OK;
}

/* Adds the scalar at hand to the value of key. */
static dpt_status take_scalar(const yaml_reader *r, const dpt_config_key *key, dpt_config_value *value) {
    const char *text = (const char *)r->event.data.scalar.value;
    bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool is_text = key->kind == DPT_CONFIG_TEXT || key->kind == DPT_CONFIG_TEXTS || key->kind == DPT_CONFIG_CHOICE;
    DPT_CHECK(plain || is_text, DPT_ERR_CONFIG, "%s: \"%s\" is a quoted text", key->name, text);
    if (plain && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0)) text = "";
    if (text[0] == '\0' && dpt_config_is_list(key) && !value->is_list) return DPT_OK; /* "key:", an empty list */
    return dpt_config_value_add(value, text, strlen(text));
}

/* Writes the scalar at hand as a word of an entry, behind `before`; quoted, where it has blanks. */
static dpt_status write_word(const yaml_reader *r, FILE *out, const char *before) {
    const yaml_event_t *e = &r->event;
    if (e->type != YAML_SCALAR_EVENT) return at(r, e->start_mark, dpt_error(DPT_ERR_CONFIG, "one value is expected"));
    const char *text = (const char *)e->data.scalar.value, *quote = strpbrk(text, " \t") ? "'" : "";
    if (strchr(text, '\''))
        return at(r, e->start_mark, dpt_error(DPT_ERR_CONFIG, "\"%s\": a quote (') is not taken here", text));
    fprintf(out, "%s%s%s%s", before, quote, text, quote);
    return DPT_OK;
}

/* The value of an entry's key: one, or a list of numbers. */
static dpt_status take_entry_value(yaml_reader *r, FILE *out, const char *before) {
    DPT_TRY(next(r));
    if (r->event.type != YAML_SEQUENCE_START_EVENT) return write_word(r, out, before);
    for (const char *between = before;; between = ":") {
        DPT_TRY(next(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return DPT_OK;
        DPT_TRY(write_word(r, out, between));
    }
}

/* The name goes to one text, the other keys go to another: it may stand anywhere. */
static dpt_status take_entry_keys(yaml_reader *r, FILE *name, FILE *rest) {
    for (bool named = false;;) {
        DPT_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return DPT_OK;
        yaml_mark_t mark = r->event.start_mark;
        const char *key = r->event.type == YAML_SCALAR_EVENT ? (const char *)r->event.data.scalar.value : "";
        char before[LONGEST_PATH];
        int n = snprintf(before, sizeof before, " %s=", key);
        bool is_key = key[0] != '\0' && strpbrk(key, " \t='") == NULL && n < (int)sizeof before;
        bool is_name = strcmp(key, "name") == 0;
        if (!is_key) return at(r, mark, dpt_error(DPT_ERR_CONFIG, "a key must be a name"));
        if (is_name && named) return at(r, mark, dpt_error(DPT_ERR_CONFIG, "name is given twice"));
        named |= is_name;
        DPT_TRY(take_entry_value(r, is_name ? name : rest, is_name ? "" : before));
    }
}

/* An entry of data.inputs or data.targets as a mapping: becomes its text (config_fields.h). */
static dpt_status take_entry(yaml_reader *r, const dpt_config_key *key, dpt_config_value *value) {
    yaml_mark_t mark = r->event.start_mark;
    char *text[2] = {NULL, NULL}, *whole = NULL;
    size_t bytes[2] = {0, 0};
    FILE *name = open_memstream(&text[0], &bytes[0]), *rest = open_memstream(&text[1], &bytes[1]);
    dpt_status status = name && rest ? take_entry_keys(r, name, rest) : DPT_ERR_MEMORY;
    bool written = name && rest && !ferror(name) && !ferror(rest);
    if (name) written &= fclose(name) == 0;
    if (rest) written &= fclose(rest) == 0;
    if (status == DPT_OK && !written) status = DPT_ERR_MEMORY;
    if (status == DPT_OK && bytes[0] == 0)
        status = at(r, mark, dpt_error(DPT_ERR_CONFIG, "%s: an entry without a name", key->name));
    if (status == DPT_OK) whole = dpt_format("%s%s", text[0], text[1]);
    if (status == DPT_OK) status = whole ? dpt_config_value_add(value, whole, bytes[0] + bytes[1]) : DPT_ERR_MEMORY;
    if (status == DPT_ERR_MEMORY) dpt_error(status, "out of memory: an entry of %s", key->name);
    free(text[0]);
    free(text[1]);
    dpt_free(whole);
    return status;
}

static bool has_entries(const dpt_config_key *key) {
    return strcmp(key->name, "data.inputs") == 0 || strcmp(key->name, "data.targets") == 0;
}

static dpt_status take_list(yaml_reader *r, const dpt_config_key *key, dpt_config_value *value) {
    value->is_list = true;
    for (;;) {
        DPT_TRY(next(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return DPT_OK;
        if (r->event.type == YAML_MAPPING_START_EVENT && has_entries(key)) {
            DPT_TRY(take_entry(r, key, value));
            continue;
        }
        if (r->event.type != YAML_SCALAR_EVENT)
            return at(r, r->event.start_mark, dpt_error(DPT_ERR_CONFIG, "%s: an item must be one value", key->name));
        DPT_TRY(at(r, r->event.start_mark, take_scalar(r, key, value)));
    }
}

static dpt_status set_key(yaml_reader *r, const dpt_config_key *key, yaml_mark_t key_mark) {
    ptrdiff_t k = key - dpt_config_keys;
    if (r->origin->layer[k] == DPT_CONFIG_FROM_FILE)
        return at(r, key_mark,
                  dpt_error(DPT_ERR_CONFIG, "%s is given twice, first in line %zu", key->name, r->origin->line[k]));
    yaml_mark_t mark = r->event.start_mark;
    dpt_config_value value = {0};
    dpt_status status;
    if (r->event.type == YAML_SEQUENCE_START_EVENT)
        DPT_TRY_GOTO(take_list(r, key, &value), fail);
    else
        DPT_TRY_GOTO(at(r, mark, take_scalar(r, key, &value)), fail);
    DPT_TRY_GOTO(at(r, mark, dpt_config_set(r->config, key, &value)), fail);
    r->origin->layer[k] = DPT_CONFIG_FROM_FILE;
    r->origin->line[k] = key_mark.line + 1;
fail:
    dpt_config_value_free(&value);
    return status;
}

static dpt_status see_section(yaml_reader *r, const char *path) {
    for (int i = 0; i < r->seen_count; i++)
        DPT_CHECK(strcmp(r->seen[i], path) != 0, DPT_ERR_CONFIG, "%s is given twice", path);
    snprintf(r->seen[r->seen_count++], LONGEST_PATH, "%s", path);
    return DPT_OK;
}

/* "model.layers": the list stays where it is, and the file itself becomes model.file (models/layer_yaml.c reads it). */
static dpt_status take_layers(yaml_reader *r, yaml_mark_t key_mark) {
    const dpt_config_key *key = dpt_config_find("model.file");
    ptrdiff_t k = key - dpt_config_keys;
    if (r->origin->layer[k] == DPT_CONFIG_FROM_FILE)
        return at(r, key_mark, dpt_error(DPT_ERR_CONFIG, "model.layers beside model.file: give one"));
    DPT_TRY(next(r));
    if (r->event.type != YAML_SEQUENCE_START_EVENT)
        return at(r, r->event.start_mark, dpt_error(DPT_ERR_CONFIG, "model.layers: a list of layers is expected"));
    for (int depth = 1; depth > 0;) {
        DPT_TRY(next(r));
        yaml_event_type_t type = r->event.type;
        depth += type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
        depth -= type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
    }
    dpt_config_value value = {0};
    dpt_status status = dpt_config_value_add(&value, r->file, strlen(r->file));
    if (status == DPT_OK) status = dpt_config_set(r->config, key, &value);
    dpt_config_value_free(&value);
    r->origin->layer[k] = DPT_CONFIG_FROM_FILE;
    r->origin->line[k] = key_mark.line + 1;
    return status;
}

static dpt_status read_section(yaml_reader *r, const char *section);

/* The value of path: a section, or a key's. */
static dpt_status read_value(yaml_reader *r, const char *path, yaml_mark_t key_mark) {
    const dpt_config_key *key = dpt_config_find(path);
    bool is_section = dpt_config_is_section(path);
    if (strcmp(path, "model.layers") == 0) return take_layers(r, key_mark);
    if (key == NULL && !is_section) return at(r, key_mark, dpt_config_unknown(path));
    DPT_TRY(next(r));
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        if (!is_section)
            return at(r, r->event.start_mark,
                      dpt_error(DPT_ERR_CONFIG, "%s: takes a value, not keys of its own", path));
        DPT_TRY(at(r, key_mark, see_section(r, path)));
        return read_section(r, path);
    }
    if (key == NULL)
        return at(r, r->event.start_mark, dpt_error(DPT_ERR_CONFIG, "%s: takes keys of its own, not a value", path));
    return set_key(r, key, key_mark);
}

/* The keys of a section, up to the end of its mapping; "" is the top. Recursive: as deep as the table's names. */
static dpt_status read_section(yaml_reader *r, const char *section) {
    for (;;) {
        DPT_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return DPT_OK;
        yaml_mark_t mark = r->event.start_mark;
        if (r->event.type != YAML_SCALAR_EVENT) return at(r, mark, dpt_error(DPT_ERR_CONFIG, "a key must be a name"));
        char path[LONGEST_PATH];
        int n = snprintf(path, sizeof path, "%s%s%s", section, section[0] ? "." : "",
                         (const char *)r->event.data.scalar.value);
        if (n < 0 || (size_t)n >= sizeof path) return at(r, mark, dpt_config_unknown(path));
        DPT_TRY(read_value(r, path, mark));
    }
}

static dpt_status read_stream(yaml_reader *r) {
    DPT_TRY(next(r)); /* the start of the stream */
    DPT_TRY(next(r));
    if (r->event.type == YAML_STREAM_END_EVENT) return DPT_OK;
    DPT_TRY(next(r)); /* after the start of the document */
    bool is_empty = r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length == 0;
    if (r->event.type == YAML_MAPPING_START_EVENT)
        DPT_TRY(read_section(r, ""));
    else if (!is_empty)
        return at(r, r->event.start_mark, dpt_error(DPT_ERR_CONFIG, "not a config: keys and values are expected"));
    DPT_TRY(next(r)); /* the end of the document */
    DPT_TRY(next(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return at(r, r->event.start_mark, dpt_error(DPT_ERR_CONFIG, "a second document in one file"));
    return DPT_OK;
}

dpt_status dpt_config_read_yaml(dpt_config *config, dpt_config_origin *origin, const char *file, const char *text,
                                size_t bytes) {
    yaml_reader *r = dpt_alloc_zero(1, sizeof *r);
    DPT_CHECK_ALLOC(r);
    dpt_status status = DPT_OK;
    if (!yaml_parser_initialize(&r->parser)) {
        status = dpt_error(DPT_ERR_MEMORY, "%s: out of memory", file);
    } else {
        yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, bytes);
        r->file = file;
        r->text = text;
        r->config = config;
        r->origin = origin;
        status = read_stream(r);
        yaml_event_delete(&r->event);
        yaml_parser_delete(&r->parser);
    }
    dpt_free(r);
    return status;
}
