/* config_write.c: a config as YAML, its digest, and the reference of all keys. What is written reads back to the same
 * config: keys that are not set or do nothing are left out, numbers take the fewest digits that read back exactly. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/config_fields.h"
#include "cli/config_table.h"

void dpt_config_write_float(FILE *out, double x) {
    char text[40];
    snprintf(text, sizeof text, "%s", isnan(x) ? "auto" : "auto_all");
    for (int digits = 1; isfinite(x) && digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    fputs(text, out);
}

/* Double-quoted YAML. */
static void write_text(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(out, "\\%c", *c);
        } else if (*c < 0x20 || *c == 0x7f) {
            fprintf(out, "\\x%02x", *c);
        } else {
            fputc(*c, out);
        }
    }
    fputc('"', out);
}

static void write_choice(FILE *out, const char *choices, int n) {
    size_t bytes = 0;
    const char *text = dpt_config_choice(choices, n, &bytes);
    fprintf(out, "%.*s", (int)bytes, text);
}

static void write_list(FILE *out, const dpt_config_key *key, const void *member) {
    const dpt_config_ints *ints = member;
    const dpt_config_floats *floats = member;
    const dpt_config_texts *texts = member;
    int64_t count = key->kind == DPT_CONFIG_INTS     ? ints->count
                    : key->kind == DPT_CONFIG_FLOATS ? floats->count
                                                     : texts->count;
    fputc('[', out);
    for (int64_t i = 0; i < count; i++) {
        if (i) fputs(", ", out);
        if (key->kind == DPT_CONFIG_INTS)
            fprintf(out, "%" PRId64, ints->item[i]);
        else if (key->kind == DPT_CONFIG_FLOATS)
            dpt_config_write_float(out, floats->item[i]);
        else
            write_text(out, texts->item[i]);
    }
    fputc(']', out);
}

static void write_value(FILE *out, const dpt_config *config, const dpt_config_key *key) {
    const void *member = dpt_config_member(config, key);
    switch (key->kind) {
        case DPT_CONFIG_INT: fprintf(out, "%" PRId64, *(const int64_t *)member); break;
        case DPT_CONFIG_FLOAT: dpt_config_write_float(out, *(const double *)member); break;
        case DPT_CONFIG_BOOL: fputs(*(const bool *)member ? "true" : "false", out); break;
        case DPT_CONFIG_TEXT: write_text(out, *(char *const *)member); break;
        case DPT_CONFIG_CHOICE: write_choice(out, key->range, *(const int *)member); break;
        case DPT_CONFIG_MODEL: fputs((*(const dpt_model *const *)member)->name, out); break;
        case DPT_CONFIG_INTS:
        case DPT_CONFIG_FLOATS:
        case DPT_CONFIG_TEXTS: write_list(out, key, member); break;
    }
}

/* Writes "key: " at its indent, after the names of the sections that the previous key was not in. */
static void write_name(FILE *out, const char *name, const char *previous) {
    size_t start = 0;
    for (size_t i = 0; name[i] != '\0' && name[i] == previous[i]; i++)
        if (name[i] == '.') start = i + 1;
    int depth = 0;
    for (size_t i = 0; i < start; i++) depth += name[i] == '.';
    for (;; depth++) {
        size_t bytes = strcspn(name + start, ".");
        fprintf(out, "%*s", 2 * depth, "");
        fwrite(name + start, 1, bytes, out);
        fputc(':', out);
        if (name[start + bytes] == '\0') break;
        fputc('\n', out);
        start += bytes + 1;
    }
    fputc(' ', out);
}

/* Whether reading a config without this key would set it. */
static bool would_be_set(const dpt_config *config, const dpt_config_key *key) {
    for (int i = 0; i < DPT_CONFIG_CONDITIONAL_COUNT; i++) {
        const dpt_config_conditional *row = &dpt_config_conditionals[i];
        if (strcmp(row->name, key->name) == 0 && dpt_config_holds(config, row->condition)) return true;
    }
    return false;
}

static void write_config(FILE *out, const dpt_config *config) {
    const char *previous = "";
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++) {
        const dpt_config_key *key = &dpt_config_keys[k];
        bool is_set = dpt_config_is_set(config, key);
        if (!is_set && !would_be_set(config, key)) continue;
        if (key->condition != NULL && !dpt_config_holds(config, key->condition)) continue;
        write_name(out, key->name, previous);
        if (is_set)
            write_value(out, config, key);
        else
            fputs("null", out);
        fputc('\n', out);
        previous = key->name;
    }
}

dpt_status dpt_config_text(const dpt_config *config, char **text) {
    char *buffer = NULL;
    size_t bytes = 0;
    *text = NULL;
    FILE *out = open_memstream(&buffer, &bytes);
    DPT_CHECK(out != NULL, DPT_ERR_MEMORY, "out of memory: the text of the config");
    write_config(out, config);
    int failed = fclose(out);
    if (!failed) *text = dpt_strdup(buffer);
    free(buffer);
    DPT_CHECK(!failed, DPT_ERR_MEMORY, "out of memory: the text of the config");
    DPT_CHECK_ALLOC(*text);
    return DPT_OK;
}

dpt_status dpt_config_digest(const dpt_config *config, dpt_digest *digest) {
    char *text;
    DPT_TRY(dpt_config_text(config, &text));
    dpt_digest_text(digest, text);
    dpt_free(text);
    return DPT_OK;
}

const char *dpt_config_model_text(const dpt_config *config, char *text, size_t bytes) {
    const char *file = config->model.file;
    if (file == NULL) return config->model.name->name;
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file, *dot = strrchr(base, '.');
    snprintf(text, bytes, "%.*s", dot ? (int)(dot - base) : (int)strlen(base), base);
    return text;
}

/* ---- reference ---- */

static const char *kind_text(dpt_config_kind kind) {
    switch (kind) {
        case DPT_CONFIG_INT: return "integer";
        case DPT_CONFIG_FLOAT: return "number";
        case DPT_CONFIG_BOOL: return "true or false";
        case DPT_CONFIG_TEXT: return "text";
        case DPT_CONFIG_CHOICE:
        case DPT_CONFIG_MODEL: return "one of";
        case DPT_CONFIG_INTS: return "list of integers";
        case DPT_CONFIG_FLOATS: return "list of numbers";
        case DPT_CONFIG_TEXTS: return "list of texts";
    }
    return "?";
}

static void write_type(FILE *out, const dpt_config_key *key) {
    fputs(kind_text(key->kind), out);
    for (int i = 0; key->kind == DPT_CONFIG_MODEL && i < dpt_model_count; i++)
        fprintf(out, "%s `%s`", i ? "," : "", dpt_models[i].name);
    if (key->kind != DPT_CONFIG_CHOICE) {
        if (key->range == NULL) return;
        fprintf(out, " in %.*s", (int)strcspn(key->range, "|"), key->range);
        if (strchr(key->range, '|')) fputs(", or `auto` or `auto_all`", out);
        return;
    }
    size_t bytes;
    const char *choice;
    for (int i = 0; (choice = dpt_config_choice(key->range, i, &bytes)) != NULL; i++)
        fprintf(out, "%s `%.*s`", i ? "," : "", (int)bytes, choice);
}

static void write_default(FILE *out, const dpt_config_key *key) {
    if (key->condition != NULL && strchr(key->condition, ':') != NULL)
        fputs("the model's own", out);
    else if (key->initial != NULL)
        fprintf(out, "`%s`", key->initial);
    else
        fputs("not set", out);
    for (int i = 0; i < DPT_CONFIG_CONDITIONAL_COUNT; i++) {
        const dpt_config_conditional *row = &dpt_config_conditionals[i];
        if (strcmp(row->name, key->name) != 0) continue;
        int name_bytes = (int)strcspn(row->condition, "=");
        if (row->condition[name_bytes + 1] == '\0')
            fprintf(out, "; `%s` where `%.*s` is not set", row->initial, name_bytes, row->condition);
        else
            fprintf(out, "; `%s` with `%s`", row->initial, row->condition);
    }
}

/* In words where it is not "key=value": the models that follow the setting; "key=": not set. */
static void write_condition(FILE *out, const dpt_config_key *key) {
    if (key->condition == NULL) return;
    const char *setting = strchr(key->condition, ':');
    size_t end = strlen(key->condition) - 1;
    bool is_set = dpt_config_condition_bytes(key->condition) < (int)end;
    if (strchr(key->condition, '=') == NULL && setting == NULL) {
        fprintf(out, " (of %s)", key->condition);
        return;
    }
    if (setting == NULL && is_set)
        fprintf(out, " (with `%.*s`)", (int)end - 1, key->condition);
    else if (setting == NULL && key->condition[end] == '=')
        fprintf(out, " (without `%.*s`)", (int)end, key->condition);
    else if (setting == NULL)
        fprintf(out, " (with `%s`)", key->condition);
    else
        for (int i = 0, n = 0; i < dpt_model_count; i++)
            if (dpt_model_takes(&dpt_models[i], setting + 1))
                fprintf(out, "%s`%s`", n++ ? ", " : " (of ", dpt_models[i].name);
    if (setting) fputc(')', out);
}

void dpt_config_write_row(FILE *out, const dpt_config_key *key) {
    fprintf(out, "| `%s` | ", key->name);
    write_type(out, key);
    fputs(" | ", out);
    write_default(out, key);
    fprintf(out, " | %s", key->help);
    write_condition(out, key);
    fputs(" |\n", out);
}

void dpt_config_reference(FILE *out) {
    fputs(
        "# Configuration\n"
        "\n"
        "`dptrain train [config.yaml] [key=value ...]`: the defaults are the built-in job, the file changes them, and\n"
        "words change the file. A key is written nested in a file and dotted in a word:\n"
        "\n"
        "```yaml\n"
        "model: mlp            # the same as model: {name: mlp}\n"
        "optimizer:\n"
        "  lr: 0.1             # the same as optimizer.lr=0.1 on the command line\n"
        "  no_decay: [\"*.bias\"] # as a word: 'optimizer.no_decay=[*.bias]'; a pattern with * needs quotes in YAML\n"
        "```\n"
        "\n"
        "An unknown key, a value of the wrong type or out of range, a key given twice and a key that would do nothing\n"
        "end the run with exit code 64. An interval such as [0, 1) includes 0 and not 1. The run directory keeps the\n"
        "resolved config as `config.yaml`, which starts the same run again.\n"
        "\n"
        "| key | type | default | meaning |\n"
        "|---|---|---|---|\n",
        out);
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++) dpt_config_write_row(out, &dpt_config_keys[k]);
    dpt_config_fields_reference(out);
}
