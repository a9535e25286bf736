/* config_fields.c: see config_fields.h. An entry has its own table of keys, whose values are read and written as those
 * of the config are. Invariant: what is read from an entry is written to the same entry again. */
#include "cli/config_fields.h"

#include <ctype.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/config_table.h"

// clang-format off
#define FIELD_TABLE(X) \
    X(train, NULL, NULL, NULL, "dataset of the training part; not set: /train/ and the name") \
    X(test, NULL, NULL, NULL, "dataset of the test part; not set: /test/ and the name, or as train beside data.test.fraction, count or files") \
    X(type, "f32", DPT_CONFIG_CHOICES(DPT_CONFIG_TYPE_LIST), "inputs", "as the model gets it; integers only from integers, for layers that take them (embedding)") \
    X(scale, NULL, "(0, inf)", NULL, "as data.scale; of targets not set: 1") \
    X(clip, NULL, "(-inf, inf)", NULL, "as data.clip") \
    X(log, NULL, "(-inf, inf)", NULL, "as data.log") \
    X(mean, NULL, "(-inf, inf)|auto|auto_all", NULL, "as data.mean") \
    X(std, NULL, "(0, inf)|auto|auto_all", NULL, "as data.std") \
    X(one_hot, NULL, "[2, 1048576]", "inputs", "as data.one_hot") \
    X(train_offsets, NULL, NULL, NULL, "as data.train.offsets") \
    X(test_offsets, NULL, NULL, NULL, "as data.test.offsets") \
    X(length, NULL, "[1, 2147483647]", NULL, "as data.length") \
    X(cut, NULL, NULL, NULL, "as data.cut") \
    X(pad, NULL, "(-inf, inf)", NULL, "as data.pad; of labels loss.ignore is a good one") \
    X(lengths, NULL, NULL, "inputs", "true: the length of each sample by these offsets, in place of values, for layers that mask") \
    X(loss, NULL, DPT_CONFIG_CHOICES(DPT_CONFIG_LOSS_LIST), "targets", "as loss.name, which counts where it is not set; the other keys of loss hold for all") \
    X(weight, "1", "(0, inf)", "targets", "what is made small is the sum of the losses times their weights") \
    X(classes, NULL, "[2, 1048576]", "targets", "with cross_entropy: labels are 0 to classes-1; not set: data.classes") \
    X(layer, NULL, NULL, "targets", "the layer of model.file that predicts it; needed with several targets, else the last")
// clang-format on

#define KIND(member) \
    _Generic(((dpt_config_field *)0)->member,    \
        int64_t: DPT_CONFIG_INT,                 \
        double: DPT_CONFIG_FLOAT,                \
        bool: DPT_CONFIG_BOOL,                   \
        char *: DPT_CONFIG_TEXT,                 \
        dpt_config_floats: DPT_CONFIG_FLOATS,    \
        default: DPT_CONFIG_CHOICE)
#define ROW(member, initial, range, condition, help) \
    {#member, initial, range, condition, help, KIND(member), offsetof(dpt_config_field, member)},
const dpt_config_key dpt_config_field_keys[DPT_CONFIG_FIELD_KEY_COUNT] = {FIELD_TABLE(ROW)};
#undef ROW

/* ---- one entry ---- */

/* The next word of *text, what stands between single quotes in it without them; NULL at the end. The caller's. */
static dpt_status next_word(const char **text, char **word) {
    const char *p = *text + strspn(*text, " \t");
    *word = NULL;
    if (*p == '\0') return DPT_OK;
    char *out = dpt_alloc(strlen(p) + 1);
    DPT_CHECK_ALLOC(out);
    size_t length = 0;
    bool quoted = false;
    for (; *p != '\0' && (quoted || (*p != ' ' && *p != '\t')); p++) {
        if (*p == '\'')
            quoted = !quoted;
        else
            out[length++] = *p;
    }
    out[length] = '\0';
    *text = p;
    *word = out;
    if (!quoted) return DPT_OK;
    dpt_free(out);
    *word = NULL;
    return dpt_error(DPT_ERR_CONFIG, "a quote (') that does not end");
}

static const dpt_config_key *find_key(const char *name) {
    for (int k = 0; k < DPT_CONFIG_FIELD_KEY_COUNT; k++)
        if (strcmp(dpt_config_field_keys[k].name, name) == 0) return &dpt_config_field_keys[k];
    return NULL;
}

static bool is_for(const dpt_config_key *key, const char *list) {
    return key->condition == NULL || strcmp(key->condition, list) == 0;
}

static dpt_status unknown_key(const char *name, const char *list) {
    const char *known[DPT_CONFIG_FIELD_KEY_COUNT];
    char all[200] = "";
    size_t length = 0;
    int count = 0;
    for (int k = 0; k < DPT_CONFIG_FIELD_KEY_COUNT; k++) {
        if (!is_for(&dpt_config_field_keys[k], list)) continue;
        known[count] = dpt_config_field_keys[k].name;
        length = dpt_append(all, sizeof all, length, "%s%s", count ? ", " : "", known[count]);
        count++;
    }
    const char *nearest = dpt_nearest(name, known, count);
    if (nearest) return dpt_error(DPT_ERR_CONFIG, "unknown key %s; did you mean %s?", name, nearest);
    return dpt_error(DPT_ERR_CONFIG, "unknown key %s; there are %s", name, all);
}

static dpt_status set_from_text(dpt_config_field *field, const dpt_config_key *key, const char *text) {
    dpt_config_value value = {.is_list = dpt_config_is_list(key)};
    dpt_status status = DPT_OK;
    for (const char *item = text;;) {
        size_t bytes = value.is_list ? strcspn(item, ":") : strlen(item);
        DPT_TRY_GOTO(dpt_config_value_add(&value, item, bytes), fail);
        if (item[bytes] == '\0') break;
        item += bytes + 1;
    }
    DPT_CHECK_GOTO(text[0] != '\0', fail, DPT_ERR_CONFIG, "%s has no value", key->name);
    status = dpt_config_set(field, key, &value);
fail:
    dpt_config_value_free(&value);
    return status;
}

/* "key=value" */
static dpt_status apply_word(dpt_config_field *field, const char *list, char *word, bool *given) {
    char *equals = strchr(word, '=');
    DPT_CHECK(equals != NULL, DPT_ERR_CONFIG, "\"%s\" is not of the form key=value", word);
    *equals = '\0';
    const dpt_config_key *key = find_key(word);
    if (key == NULL || !is_for(key, list)) return unknown_key(word, list);
    ptrdiff_t k = key - dpt_config_field_keys;
    DPT_CHECK(!given[k], DPT_ERR_CONFIG, "%s is given twice", word);
    given[k] = true;
    return set_from_text(field, key, equals + 1);
}

static dpt_status check_name(const char *name) {
    bool valid = isalpha((unsigned char)name[0]) || name[0] == '_';
    for (const char *c = name; *c; c++) valid &= isalnum((unsigned char)*c) || *c == '_';
    DPT_CHECK(valid && strlen(name) <= DPT_CONFIG_LONGEST_NAME, DPT_ERR_CONFIG,
              "\"%s\" is no name: a letter, then letters, digits and _, %d at most", name, DPT_CONFIG_LONGEST_NAME);
    return DPT_OK;
}

/* What an entry does not say. */
static dpt_status fill_in(const dpt_config *config, dpt_config_field *field, bool is_target, const bool *given) {
    static const dpt_dtype types[] = {DPT_F32, DPT_U8, DPT_I32, DPT_I64};
    if (field->train == NULL) field->train = dpt_format("/train/%s", field->name);
    DPT_CHECK_ALLOC(field->train);
    if (field->test == NULL)
        field->test = dpt_config_splits(config) ? dpt_strdup(field->train) : dpt_format("/test/%s", field->name);
    DPT_CHECK_ALLOC(field->test);
    field->dtype = types[field->type];
    if (!is_target) return DPT_OK;
    if (!given[find_key("loss") - dpt_config_field_keys]) field->loss = config->loss.name;
    bool of_classes = field->loss == DPT_CONFIG_LOSS_CROSS_ENTROPY;
    DPT_CHECK(of_classes || field->classes == 0, DPT_ERR_CONFIG, "classes does nothing without loss=cross_entropy");
    if (of_classes && field->classes == 0) field->classes = config->data.classes;
    if (of_classes) field->dtype = DPT_I64;
    return DPT_OK;
}

static void clear(dpt_config_field *field) {
    dpt_free(field->name);
    for (int k = 0; k < DPT_CONFIG_FIELD_KEY_COUNT; k++) dpt_config_unset(field, &dpt_config_field_keys[k]);
}

static dpt_status read_entry(const dpt_config *config, const char *list, const char *entry, dpt_config_field *field) {
    bool given[DPT_CONFIG_FIELD_KEY_COUNT] = {false};
    char *word = NULL;
    const char *text = entry;
    dpt_status status;
    field->weight = 1;
    DPT_TRY(next_word(&text, &field->name));
    DPT_CHECK(field->name != NULL, DPT_ERR_CONFIG, "an entry begins with a name");
    DPT_TRY(check_name(field->name));
    for (;;) {
        DPT_TRY(next_word(&text, &word));
        if (word == NULL) break;
        status = apply_word(field, list, word, given);
        dpt_free(word);
        DPT_TRY(status);
    }
    return fill_in(config, field, strcmp(list, "targets") == 0, given);
}

/* ---- checks ---- */

bool dpt_config_is_auto(const dpt_config_floats *values) {
    for (int64_t i = 0; i < values->count; i++)
        if (!isfinite(values->item[i])) return true;
    return false;
}

/* Messages name keys as `before` and the key: "data.mean", "mean". */
static dpt_status check_transforms(const dpt_config_field *f, const char *before) {
    long long mean = f->mean.count, std = f->std.count, logs = f->log.count;
    bool finds_mean = dpt_config_is_auto(&f->mean), finds_std = dpt_config_is_auto(&f->std);
    DPT_CHECK((!finds_mean || mean == 1) && (!finds_std || std == 1), DPT_ERR_CONFIG,
              "%smean and %sstd: auto and auto_all stand alone", before, before);
    bool alike = isnan(finds_mean ? f->mean.item[0] : 0) == isnan(finds_std ? f->std.item[0] : 0);
    DPT_CHECK(!finds_mean || !finds_std || alike, DPT_ERR_CONFIG,
              "%smean and %sstd: auto for both, or auto_all for both", before, before);
    DPT_CHECK(mean == 0 || std == 0 || mean == std || finds_mean || finds_std, DPT_ERR_CONFIG,
              "%smean has %lld values and %sstd %lld: as many of each", before, mean, before, std);
    DPT_CHECK(f->clip.count == 0 || f->clip.count == 2, DPT_ERR_CONFIG,
              "%sclip has %lld values: the least and the largest", before, (long long)f->clip.count);
    DPT_CHECK(f->clip.count == 0 || f->clip.item[0] < f->clip.item[1], DPT_ERR_CONFIG,
              "%sclip=[%g, %g]: the second must be above the first", before, f->clip.item[0], f->clip.item[1]);
    DPT_CHECK(logs <= 1, DPT_ERR_CONFIG, "%slog has %lld values: one, the offset", before, logs);
    bool changes = mean > 0 || std > 0 || logs > 0 || f->clip.count > 0 || f->scale != 0;
    DPT_CHECK(f->one_hot == 0 || !changes, DPT_ERR_CONFIG,
              "%sone_hot makes 0 and 1 of the inputs: without %sscale, clip, log, mean and std", before, before);
    DPT_CHECK(f->dtype == DPT_F32 || (!changes && f->one_hot == 0), DPT_ERR_CONFIG,
              "%sscale, clip, log, mean, std and one_hot make floats: without them for integers (%s)", before,
              f->classes ? "labels of classes" : "type");
    return DPT_OK;
}

/* Where test samples are split off, they stand in the datasets of training. */
static dpt_status fill_in_offsets(const dpt_config *config, dpt_config_field *field) {
    if (field->train_offsets == NULL || field->test_offsets != NULL || !dpt_config_splits(config)) return DPT_OK;
    field->test_offsets = dpt_strdup(field->train_offsets);
    DPT_CHECK_ALLOC(field->test_offsets);
    return DPT_OK;
}

static dpt_status check_sequences(const dpt_config_field *f, const char *before) {
    bool train = f->train_offsets != NULL, test = f->test_offsets != NULL, is_short = before[0] != '\0';
    bool whole = f->pad == trunc(f->pad), least = f->dtype == DPT_U8 ? f->pad >= 0 : f->pad >= INT32_MIN;
    DPT_CHECK(train == test, DPT_ERR_CONFIG, "%s and %s go together", is_short ? "data.train.offsets" : "train_offsets",
              is_short ? "data.test.offsets" : "test_offsets");
    DPT_CHECK(train || (f->length == 0 && !f->cut && f->pad == 0 && !f->lengths), DPT_ERR_CONFIG,
              "length, cut, pad and lengths do nothing without train_offsets");
    DPT_CHECK(
        f->dtype == DPT_F32 || (fabs(f->pad) <= INT32_MAX && whole && least && (f->dtype != DPT_U8 || f->pad < 256)),
        DPT_ERR_CONFIG, "%spad=%g is no value of %s", before, f->pad, dpt_dtype_text(f->dtype));
    DPT_CHECK(fabs(f->pad) <= (double)FLT_MAX, DPT_ERR_CONFIG, "%spad=%g is no value of f32", before, f->pad);
    return DPT_OK;
}

static dpt_status check_unique(const dpt_config_fields *fields) {
    for (int i = 0; i < fields->count; i++)
        for (int k = 0; k < i; k++)
            DPT_CHECK(strcmp(fields->item[i].name, fields->item[k].name) != 0, DPT_ERR_CONFIG,
                      "data.inputs and data.targets: the name \"%s\" is given twice", fields->item[i].name);
    return DPT_OK;
}

/* Against the model, and what takes one input or target. */
static dpt_status check_counts(const dpt_config *config, const dpt_config_fields *fields) {
    int targets = fields->count - fields->inputs;
    char names[200] = "";
    size_t length = 0;
    bool is_list = config->model.file != NULL;
    for (int i = 0; i < fields->inputs; i++)
        length = dpt_append(names, sizeof names, length, "%s%s", i ? ", " : "", fields->item[i].name);
    DPT_CHECK(is_list || fields->inputs == 1, DPT_ERR_CONFIG,
              "model.name=%s takes one input, but data.inputs has %d (%s): a list of layers (model.file) takes several",
              config->model.name->name, fields->inputs, names);
    DPT_CHECK(
        is_list || targets == 1, DPT_ERR_CONFIG,
        "model.name=%s predicts one target, but data.targets has %d: a list of layers (model.file) predicts several",
        config->model.name->name, targets);
    DPT_CHECK(is_list || config->data.targets.count == 0 || config->model.name->target != DPT_MODEL_OF_INPUT,
              DPT_ERR_CONFIG, "model.name=%s gives back its input: without data.targets", config->model.name->name);
    for (int i = fields->inputs; i < fields->count; i++) {
        const dpt_config_field *f = &fields->item[i];
        DPT_CHECK(is_list || f->layer == NULL, DPT_ERR_CONFIG,
                  "data.targets \"%s\": layer does nothing without model.file", f->name);
        DPT_CHECK(targets == 1 || f->layer != NULL, DPT_ERR_CONFIG,
                  "data.targets \"%s\": with %d targets each says which layer predicts it (layer=NAME)", f->name,
                  targets);
        DPT_CHECK(
            f->classes == 0 || config->loss.class_weights.count == 0 || config->loss.class_weights.count == f->classes,
            DPT_ERR_CONFIG, "loss.class_weights has %lld values, %s%s is %lld",
            (long long)config->loss.class_weights.count, config->data.targets.count ? "classes of " : "data.classes",
            config->data.targets.count ? f->name : "", (long long)f->classes);
    }
    if (config->mixup.alpha == 0) return DPT_OK;
    DPT_CHECK(targets == 1, DPT_ERR_CONFIG, "mixup.alpha: samples with %d targets are not mixed", targets);
    for (int i = 0; i < fields->inputs; i++)
        DPT_CHECK(fields->item[i].dtype == DPT_F32, DPT_ERR_CONFIG,
                  "mixup.alpha: the input %s holds integers, which cannot be mixed", fields->item[i].name);
    return DPT_OK;
}

/* ---- all entries ---- */

static dpt_status copy_floats(const dpt_config_floats *from, dpt_config_floats *to) {
    if (from->count == 0) return DPT_OK;
    double *item = dpt_alloc((size_t)from->count * sizeof *item);
    DPT_CHECK_ALLOC(item);
    memcpy(item, from->item, (size_t)from->count * sizeof *item);
    dpt_free(to->item);
    *to = (dpt_config_floats){item, from->count};
    return DPT_OK;
}

static dpt_status short_field(const dpt_config *config, bool is_target, dpt_config_field *field) {
    const bool given[DPT_CONFIG_FIELD_KEY_COUNT] = {false};
    field->weight = 1;
    field->name = dpt_strdup(is_target ? "y" : "x");
    field->train = dpt_strdup(is_target ? config->data.train.y : config->data.train.x);
    field->test = dpt_strdup(is_target ? config->data.test.y : config->data.test.x);
    DPT_CHECK_ALLOC(field->name);
    DPT_TRY(fill_in(config, field, is_target, given));
    if (is_target) return DPT_OK;
    field->scale = config->data.scale;
    field->one_hot = config->data.one_hot;
    field->length = config->data.length;
    field->cut = config->data.cut;
    field->pad = config->data.pad;
    field->train_offsets = dpt_strdup(config->data.train.offsets);
    field->test_offsets = dpt_strdup(config->data.test.offsets);
    if ((config->data.train.offsets && !field->train_offsets) || (config->data.test.offsets && !field->test_offsets))
        return DPT_ERR_MEMORY;
    DPT_TRY(copy_floats(&config->data.clip, &field->clip));
    DPT_TRY(copy_floats(&config->data.log, &field->log));
    DPT_TRY(copy_floats(&config->data.mean, &field->mean));
    return copy_floats(&config->data.std, &field->std);
}

static dpt_status read_list(const dpt_config *config, bool is_target, dpt_config_fields *fields) {
    const dpt_config_texts *entries = is_target ? &config->data.targets : &config->data.inputs;
    const char *list = is_target ? "targets" : "inputs";
    if (entries->count == 0) {
        DPT_TRY(short_field(config, is_target, &fields->item[fields->count++]));
        DPT_TRY(fill_in_offsets(config, &fields->item[fields->count - 1]));
        DPT_TRY(check_sequences(&fields->item[fields->count - 1], "data."));
        return check_transforms(&fields->item[fields->count - 1], "data.");
    }
    DPT_CHECK(entries->count < DPT_CONFIG_MOST_FIELDS / 2, DPT_ERR_CONFIG, "data.%s has %lld entries, at most %d", list,
              (long long)entries->count, DPT_CONFIG_MOST_FIELDS / 2 - 1);
    for (int64_t i = 0; i < entries->count; i++) {
        dpt_config_field *field = &fields->item[fields->count++];
        dpt_status status = read_entry(config, list, entries->item[i], field);
        if (status == DPT_OK) status = check_transforms(field, "");
        if (status == DPT_OK) status = fill_in_offsets(config, field);
        if (status == DPT_OK) status = check_sequences(field, "");
        if (status != DPT_OK) return dpt_error_prefix(status, "data.%s \"%s\": ", list, entries->item[i]);
    }
    return DPT_OK;
}

dpt_status dpt_config_fields_read(const dpt_config *config, dpt_config_fields *fields) {
    dpt_status status;
    *fields = (dpt_config_fields){.item = dpt_alloc_zero(DPT_CONFIG_MOST_FIELDS, sizeof *fields->item)};
    DPT_CHECK_ALLOC(fields->item);
    DPT_TRY_GOTO(read_list(config, false, fields), fail);
    fields->inputs = fields->count;
    DPT_TRY_GOTO(read_list(config, true, fields), fail);
    DPT_TRY_GOTO(check_unique(fields), fail);
    DPT_TRY_GOTO(check_counts(config, fields), fail);
    return DPT_OK;
fail:
    dpt_config_fields_free(fields);
    return status;
}

void dpt_config_fields_free(dpt_config_fields *fields) {
    for (int i = 0; i < fields->count; i++) clear(&fields->item[i]);
    dpt_free(fields->item);
    *fields = (dpt_config_fields){0};
}

/* ---- keeping what was found ---- */

static void write_value(FILE *out, const dpt_config_field *field, const dpt_config_key *key) {
    const void *member = dpt_config_member(field, key);
    const dpt_config_floats *floats = member;
    size_t bytes = 0;
    switch (key->kind) {
        case DPT_CONFIG_INT: fprintf(out, "%lld", *(const long long *)member); break;
        case DPT_CONFIG_FLOAT: dpt_config_write_float(out, *(const double *)member); break;
        case DPT_CONFIG_BOOL: fputs("true", out); break; /* is_said */
        case DPT_CONFIG_TEXT: {
            const char *text = *(char *const *)member, *quote = strpbrk(text, " \t") ? "'" : "";
            fprintf(out, "%s%s%s", quote, text, quote);
            break;
        }
        case DPT_CONFIG_CHOICE: {
            const char *text = dpt_config_choice(key->range, *(const int *)member, &bytes);
            fprintf(out, "%.*s", (int)bytes, text);
            break;
        }
        default:
            for (int64_t i = 0; i < floats->count; i++) {
                if (i) fputc(':', out);
                dpt_config_write_float(out, floats->item[i]);
            }
    }
}

/* Whether leaving a key out would say another thing. */
static bool is_said(const dpt_config *config, const dpt_config_field *field, const dpt_config_key *key) {
    char path[DPT_CONFIG_LONGEST_NAME + 16];
    bool is_train = strcmp(key->name, "train") == 0, is_test = strcmp(key->name, "test") == 0;
    if (strcmp(key->name, "loss") == 0) return true;
    if (strcmp(key->name, "type") == 0) return field->type != DPT_CONFIG_TYPE_F32;
    if (strcmp(key->name, "weight") == 0) return field->weight != 1;
    if (key->kind == DPT_CONFIG_BOOL) return *(const bool *)dpt_config_member(field, key);
    if (is_test && dpt_config_splits(config)) return strcmp(field->test, field->train) != 0;
    snprintf(path, sizeof path, "/%s/%s", key->name, field->name);
    if (is_train || is_test) return strcmp(is_train ? field->train : field->test, path) != 0;
    return dpt_config_is_set(field, key);
}

static dpt_status write_entry(const dpt_config *config, const dpt_config_field *field, const char *list, char **text) {
    char *buffer = NULL;
    size_t bytes = 0;
    *text = NULL;
    FILE *out = open_memstream(&buffer, &bytes);
    DPT_CHECK(out != NULL, DPT_ERR_MEMORY, "out of memory: an entry of data.%s", list);
    fputs(field->name, out);
    for (int k = 0; k < DPT_CONFIG_FIELD_KEY_COUNT; k++) {
        const dpt_config_key *key = &dpt_config_field_keys[k];
        if (!is_for(key, list) || !is_said(config, field, key)) continue;
        fprintf(out, " %s=", key->name);
        write_value(out, field, key);
    }
    if (fclose(out) == 0) *text = dpt_strdup(buffer);
    free(buffer);
    DPT_CHECK_ALLOC(*text);
    return DPT_OK;
}

static dpt_status replace(dpt_config_floats *values, int64_t count, const double *found) {
    const dpt_config_floats with = {(double *)(uintptr_t)found, count};
    return dpt_config_is_auto(values) ? copy_floats(&with, values) : DPT_OK;
}

dpt_status dpt_config_fields_keep(dpt_config *config, dpt_config_fields *fields, int i, int64_t count,
                                  const double *mean, const double *std) {
    dpt_config_field *field = &fields->item[i];
    bool is_target = i >= fields->inputs;
    dpt_config_texts *entries = is_target ? &config->data.targets : &config->data.inputs;
    DPT_TRY(replace(&field->mean, count, mean));
    DPT_TRY(replace(&field->std, count, std));
    if (entries->count == 0) {
        DPT_TRY(replace(&config->data.mean, count, mean));
        return replace(&config->data.std, count, std);
    }
    char *text;
    DPT_TRY(write_entry(config, field, is_target ? "targets" : "inputs", &text));
    char **entry = &entries->item[is_target ? i - fields->inputs : i];
    dpt_free(*entry);
    *entry = text;
    return DPT_OK;
}

/* ---- reference ---- */

void dpt_config_fields_reference(FILE *out) {
    fputs(
        "\n"
        "An entry of `data.inputs` or `data.targets` is a name with keys of its own:\n"
        "\n"
        "```yaml\n"
        "data:\n"
        "  files: flow.h5\n"
        "  inputs:\n"
        "    - {name: u, train: /train/velocity, test: /test/velocity, scale: 0.1, mean: auto, std: auto}\n"
        "    - {name: kind, type: i64}                  # /train/kind and /test/kind\n"
        "  targets:\n"
        "    - {name: flux, loss: mse, layer: head}\n"
        "    - {name: regime, loss: cross_entropy, classes: 3, weight: 0.2, layer: top}\n"
        "```\n"
        "\n"
        "or, as on a command line, a text: `'data.inputs=[u train=/train/velocity clip=-1:1, kind type=i64]'`,\n"
        "with `:` between the numbers of a list and single quotes around what has blanks. Layers take inputs by\n"
        "their names (`from: [u, kind]`). With several targets, metrics are named `<target>_<metric>`, as\n"
        "`early_stop.metric` takes them, and the confusion matrix is that of the first target of classes. What\n"
        "`auto` finds stands as numbers in the run's `config.yaml` and in `params.h5`. Evaluation takes those, with a\n"
        "config that says `auto` and with other files too.\n"
        "\n"
        "| key | type | default | meaning |\n"
        "|---|---|---|---|\n",
        out);
    for (int k = 0; k < DPT_CONFIG_FIELD_KEY_COUNT; k++) dpt_config_write_row(out, &dpt_config_field_keys[k]);
}
