/* config_value.c: texts of a config file or an override to typed members. A member holds either its old value or the
 * whole new one; the message of a refused value begins with its key. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/config_table.h"

dpt_status dpt_config_value_add(dpt_config_value *value, const char *item, size_t bytes) {
    DPT_GROW(value->item, value->count, value->capacity);
    char *copy = dpt_alloc(bytes + 1);
    DPT_CHECK_ALLOC(copy);
    memcpy(copy, item, bytes);
    copy[bytes] = '\0';
    value->item[value->count++] = copy;
    return DPT_OK;
}

void dpt_config_value_free(dpt_config_value *value) {
    for (int64_t i = 0; i < value->count; i++) dpt_free(value->item[i]);
    dpt_free(value->item);
    *value = (dpt_config_value){0};
}

/* Adds text[0, bytes) without the blanks around it and one pair of quotes. */
static dpt_status add_trimmed(dpt_config_value *value, const char *text, size_t bytes) {
    while (bytes > 0 && isspace((unsigned char)text[0])) text++, bytes--;
    while (bytes > 0 && isspace((unsigned char)text[bytes - 1])) bytes--;
    if (bytes >= 2 && (text[0] == '"' || text[0] == '\'') && text[bytes - 1] == text[0]) text++, bytes -= 2;
    return dpt_config_value_add(value, text, bytes);
}

dpt_status dpt_config_value_split(dpt_config_value *value, const dpt_config_key *key, const char *text) {
    size_t bytes = strlen(text);
    if (!dpt_config_is_list(key)) return dpt_config_value_add(value, text, bytes);
    value->is_list = true;
    if (text[0] == '[') {
        DPT_CHECK(text[bytes - 1] == ']', DPT_ERR_CONFIG, "%s: \"%s\" lacks the closing ]", key->name, text);
        text++, bytes -= 2;
    }
    if (bytes == 0) return DPT_OK;
    for (const char *end = text + bytes;; text++) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *item_end = comma ? comma : end;
        DPT_TRY(add_trimmed(value, text, (size_t)(item_end - text)));
        if (comma == NULL) return DPT_OK;
        text = comma;
    }
}

bool dpt_config_is_list(const dpt_config_key *key) {
    return key->kind == DPT_CONFIG_INTS || key->kind == DPT_CONFIG_FLOATS || key->kind == DPT_CONFIG_TEXTS;
}

/* Whether x lies in an interval such as "[0, 1)". */
static bool within(const char *interval, double x) {
    char *end;
    double low = strtod(interval + 1, &end);
    double high = strtod(end + 1, &end);
    bool above = *interval == '[' ? x >= low : x > low;
    bool below = *end == ']' ? x <= high : x < high;
    return above && below;
}

static dpt_status parse_int(const dpt_config_key *key, const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    DPT_CHECK(end != text && *end == '\0' && !isspace((unsigned char)text[0]), DPT_ERR_CONFIG,
              "%s: \"%s\" is not an integer", key->name, text);
    DPT_CHECK(errno != ERANGE && within(key->range, (double)x), DPT_ERR_CONFIG, "%s: %s is not in %s", key->name, text,
              key->range);
    *out = x;
    return DPT_OK;
}

/* The words after the interval, "(0, inf)|auto|auto_all". */
static bool parse_word(const dpt_config_key *key, const char *text, double *out) {
    bool has = strchr(key->range, '|') != NULL, all = strcmp(text, "auto_all") == 0;
    *out = all ? DPT_CONFIG_AUTO_ALL : DPT_CONFIG_AUTO;
    return has && (all || strcmp(text, "auto") == 0);
}

static dpt_status parse_float(const dpt_config_key *key, const char *text, double *out) {
    char *end;
    if (parse_word(key, text, out)) return DPT_OK;
    double x = strtod(text, &end);
    DPT_CHECK(end != text && *end == '\0' && !isspace((unsigned char)text[0]), DPT_ERR_CONFIG,
              "%s: \"%s\" is not a number", key->name, text);
    DPT_CHECK(isfinite(x) && within(key->range, x), DPT_ERR_CONFIG, "%s: %s is not in %.*s", key->name, text,
              (int)strcspn(key->range, "|"), key->range);
    *out = x;
    return DPT_OK;
}

static dpt_status parse_bool(const dpt_config_key *key, const char *text, bool *out) {
    *out = strcmp(text, "true") == 0;
    DPT_CHECK(*out || strcmp(text, "false") == 0, DPT_ERR_CONFIG, "%s: \"%s\" is neither true nor false", key->name,
              text);
    return DPT_OK;
}

const char *dpt_config_choice(const char *choices, int n, size_t *bytes) {
    for (; n > 0 && choices != NULL; n--) choices = strchr(choices + 1, '|');
    if (choices == NULL) return NULL;
    *bytes = strcspn(choices + 1, "|");
    return choices + 1;
}

static dpt_status parse_choice(const dpt_config_key *key, const char *text, int *out) {
    size_t bytes;
    const char *choice;
    for (int i = 0; (choice = dpt_config_choice(key->range, i, &bytes)) != NULL; i++) {
        if (strlen(text) != bytes || memcmp(choice, text, bytes) != 0) continue;
        *out = i;
        return DPT_OK;
    }
    return dpt_error(DPT_ERR_CONFIG, "%s: \"%s\" is none of %s", key->name, text, key->range + 1);
}

static void free_texts(dpt_config_texts *texts) {
    for (int64_t i = 0; i < texts->count; i++) dpt_free(texts->item[i]);
    dpt_free(texts->item);
    *texts = (dpt_config_texts){0};
}

void dpt_config_files_free(dpt_config_texts *files) { free_texts(files); }

static dpt_status set_texts(const dpt_config_key *key, const dpt_config_value *value, dpt_config_texts *out) {
    dpt_config_texts made = {0};
    dpt_status status = DPT_OK;
    made.item = dpt_alloc_zero((size_t)value->count, sizeof *made.item);
    DPT_CHECK_ALLOC_GOTO(made.item, fail);
    for (; made.count < value->count; made.count++) {
        DPT_CHECK_GOTO(value->item[made.count][0], fail, DPT_ERR_CONFIG, "%s: item %lld is empty", key->name,
                       (long long)made.count + 1);
        made.item[made.count] = dpt_strdup(value->item[made.count]);
        DPT_CHECK_ALLOC_GOTO(made.item[made.count], fail);
    }
    free_texts(out);
    *out = made;
    return DPT_OK;
fail:
    free_texts(&made);
    return status;
}

static dpt_status set_ints(const dpt_config_key *key, const dpt_config_value *value, dpt_config_ints *out) {
    int64_t *item = NULL; /* of an empty list too: what is not set */
    if (value->count > 0) {
        item = dpt_alloc_zero((size_t)value->count, sizeof *item);
        DPT_CHECK_ALLOC(item);
    }
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < value->count; i++) DPT_TRY_GOTO(parse_int(key, value->item[i], &item[i]), fail);
    dpt_free(out->item);
    *out = (dpt_config_ints){item, value->count};
    return DPT_OK;
fail:
    dpt_free(item);
    return status;
}

static dpt_status set_floats(const dpt_config_key *key, const dpt_config_value *value, dpt_config_floats *out) {
    double *item = NULL; /* of an empty list too: what is not set */
    if (value->count > 0) {
        item = dpt_alloc_zero((size_t)value->count, sizeof *item);
        DPT_CHECK_ALLOC(item);
    }
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < value->count; i++) DPT_TRY_GOTO(parse_float(key, value->item[i], &item[i]), fail);
    dpt_free(out->item);
    *out = (dpt_config_floats){item, value->count};
    return DPT_OK;
fail:
    dpt_free(item);
    return status;
}

static dpt_status set_text(const char *text, char **out) {
    char *copy = dpt_strdup(text);
    DPT_CHECK_ALLOC(copy);
    dpt_free(*out);
    *out = copy;
    return DPT_OK;
}

static dpt_status set_model(const dpt_config_key *key, const char *text, const dpt_model **out) {
    const dpt_model *model;
    dpt_status status = dpt_model_find(text, &model);
    if (status != DPT_OK) return dpt_error_prefix(status, "%s: ", key->name);
    *out = model;
    return DPT_OK;
}

dpt_status dpt_config_set(void *object, const dpt_config_key *key, const dpt_config_value *value) {
    void *member = dpt_config_member(object, key);
    if (!dpt_config_is_list(key)) {
        DPT_CHECK(!value->is_list, DPT_ERR_CONFIG, "%s: takes one value, not a list", key->name);
        if (value->item[0][0] == '\0') {
            DPT_CHECK(key->initial == NULL, DPT_ERR_CONFIG, "%s: has no value", key->name);
            dpt_config_unset(object, key);
            return DPT_OK;
        }
    }
    switch (key->kind) {
        case DPT_CONFIG_INT: return parse_int(key, value->item[0], member);
        case DPT_CONFIG_FLOAT: return parse_float(key, value->item[0], member);
        case DPT_CONFIG_BOOL: return parse_bool(key, value->item[0], member);
        case DPT_CONFIG_CHOICE: return parse_choice(key, value->item[0], member);
        case DPT_CONFIG_TEXT: return set_text(value->item[0], member);
        case DPT_CONFIG_MODEL: return set_model(key, value->item[0], member);
        case DPT_CONFIG_INTS: return set_ints(key, value, member);
        case DPT_CONFIG_FLOATS: return set_floats(key, value, member);
        case DPT_CONFIG_TEXTS: return set_texts(key, value, member);
    }
    return dpt_error(DPT_ERR_INTERNAL, "%s: kind %d", key->name, (int)key->kind);
}

void dpt_config_unset(void *object, const dpt_config_key *key) {
    void *member = dpt_config_member(object, key);
    switch (key->kind) {
        case DPT_CONFIG_INT: *(int64_t *)member = 0; break;
        case DPT_CONFIG_FLOAT: *(double *)member = 0; break;
        case DPT_CONFIG_BOOL: *(bool *)member = false; break;
        case DPT_CONFIG_CHOICE: *(int *)member = 0; break;
        case DPT_CONFIG_MODEL: *(const dpt_model **)member = NULL; break;
        case DPT_CONFIG_TEXT:
            dpt_free(*(char **)member);
            *(char **)member = NULL;
            break;
        case DPT_CONFIG_INTS:
            dpt_free(((dpt_config_ints *)member)->item);
            *(dpt_config_ints *)member = (dpt_config_ints){0};
            break;
        case DPT_CONFIG_FLOATS:
            dpt_free(((dpt_config_floats *)member)->item);
            *(dpt_config_floats *)member = (dpt_config_floats){0};
            break;
        case DPT_CONFIG_TEXTS: free_texts(member); break;
    }
}

bool dpt_config_is_set(const void *object, const dpt_config_key *key) {
    if (key->initial != NULL) return true;
    const void *member = dpt_config_member(object, key);
    switch (key->kind) {
        case DPT_CONFIG_INT: return *(const int64_t *)member != 0;
        case DPT_CONFIG_FLOAT: return *(const double *)member != 0;
        case DPT_CONFIG_TEXT: return *(char *const *)member != NULL;
        case DPT_CONFIG_INTS: return ((const dpt_config_ints *)member)->count > 0;
        case DPT_CONFIG_FLOATS: return ((const dpt_config_floats *)member)->count > 0;
        case DPT_CONFIG_TEXTS: return ((const dpt_config_texts *)member)->count > 0;
        case DPT_CONFIG_BOOL:
        case DPT_CONFIG_MODEL:
        case DPT_CONFIG_CHOICE: break;
    }
    return true;
}
