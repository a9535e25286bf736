/* config.c: defaults, then the file, then the overrides, then what the keys mean together. The origin of every key is
 * kept while reading: a key may replace a lower layer's, but not its own, and a key that does nothing beside the others
 * is refused unless a higher layer made it so. */
#include "cli/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/config_fields.h"
#include "cli/config_table.h"

enum { LARGEST_FILE = 1 << 20, LONGEST_SECTION = 32 };

#define KIND(member) \
    _Generic(((dpt_config *)0)->member,          \
        int64_t: DPT_CONFIG_INT,                 \
        double: DPT_CONFIG_FLOAT,                \
        bool: DPT_CONFIG_BOOL,                   \
        char *: DPT_CONFIG_TEXT,                 \
        const dpt_model *: DPT_CONFIG_MODEL,     \
        dpt_config_ints: DPT_CONFIG_INTS,        \
        dpt_config_floats: DPT_CONFIG_FLOATS,    \
        dpt_config_texts: DPT_CONFIG_TEXTS,      \
        default: DPT_CONFIG_CHOICE)

#define ROW(member, initial, range, condition, help) \
    {#member, initial, range, condition, help, KIND(member), offsetof(dpt_config, member)},
const dpt_config_key dpt_config_keys[DPT_CONFIG_KEY_COUNT] = {DPT_CONFIG_TABLE(ROW)};
#undef ROW

#define ROW(condition, member, initial) {condition, #member, initial},
const dpt_config_conditional dpt_config_conditionals[DPT_CONFIG_CONDITIONAL_COUNT] = {
    DPT_CONFIG_CONDITIONAL_DEFAULTS(ROW)};
#undef ROW

_Static_assert(sizeof(dpt_config_loss) == sizeof(int), "choices are written through int");

const dpt_config_key *dpt_config_find(const char *name) {
    size_t n = strlen(name);
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++) {
        const char *known = dpt_config_keys[k].name;
        if (strncmp(known, name, n) != 0) continue;
        if (known[n] == '\0' || strcmp(known + n, ".name") == 0) return &dpt_config_keys[k];
    }
    return NULL;
}

bool dpt_config_is_section(const char *name) {
    size_t n = strlen(name);
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++)
        if (strncmp(dpt_config_keys[k].name, name, n) == 0 && dpt_config_keys[k].name[n] == '.') return true;
    return false;
}

dpt_status dpt_config_unknown(const char *name) {
    const char *known[2 * DPT_CONFIG_KEY_COUNT];
    char section[DPT_CONFIG_KEY_COUNT][LONGEST_SECTION];
    int count = 0;
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++) {
        const char *key = dpt_config_keys[k].name, *dot = strchr(key, '.');
        known[count++] = key;
        if (dot == NULL) continue;
        snprintf(section[k], sizeof section[k], "%.*s", (int)(dot - key), key);
        known[count++] = section[k];
    }
    const char *nearest = dpt_nearest(name, known, count);
    if (nearest == NULL) return dpt_error(DPT_ERR_CONFIG, "unknown key %s", name);
    return dpt_error(DPT_ERR_CONFIG, "unknown key %s; did you mean %s?", name, nearest);
}

/* ---- layers ---- */

static dpt_status set_from_text(dpt_config *config, const dpt_config_key *key, const char *text) {
    dpt_config_value value = {0};
    dpt_status status;
    DPT_TRY_GOTO(dpt_config_value_split(&value, key, text), fail);
    DPT_TRY_GOTO(dpt_config_set(config, key, &value), fail);
fail:
    dpt_config_value_free(&value);
    return status;
}

static dpt_status set_defaults(dpt_config *config) {
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++)
        if (dpt_config_keys[k].initial != NULL)
            DPT_TRY(set_from_text(config, &dpt_config_keys[k], dpt_config_keys[k].initial));
    return DPT_OK;
}

static dpt_status set_conditional_defaults(dpt_config *config, const dpt_config_origin *origin) {
    for (int i = 0; i < DPT_CONFIG_CONDITIONAL_COUNT; i++) {
        const dpt_config_conditional *row = &dpt_config_conditionals[i];
        const dpt_config_key *key = dpt_config_find(row->name);
        if (origin->layer[key - dpt_config_keys] != DPT_CONFIG_FROM_DEFAULT) continue;
        if (dpt_config_holds(config, row->condition)) DPT_TRY(set_from_text(config, key, row->initial));
    }
    return DPT_OK;
}

bool dpt_config_splits(const dpt_config *config) {
    return config->data.test.fraction > 0 || config->data.test.count > 0 || config->data.test.files.count > 0;
}

/* Test samples that are split off lie where the others do. */
static dpt_status set_test_paths(dpt_config *config, const dpt_config_origin *origin) {
    const char *const name[] = {"data.test.x", "data.test.y"};
    const char *const path[] = {config->data.train.x, config->data.train.y};
    for (int i = 0; i < 2 && dpt_config_splits(config); i++) {
        const dpt_config_key *key = dpt_config_find(name[i]);
        if (origin->layer[key - dpt_config_keys] != DPT_CONFIG_FROM_DEFAULT) continue;
        DPT_TRY(set_from_text(config, key, path[i]));
    }
    return DPT_OK;
}

static dpt_status apply_override(dpt_config *config, dpt_config_origin *origin, const char *word) {
    const char *equals = strchr(word, '=');
    DPT_CHECK(equals != NULL && equals > word, DPT_ERR_CONFIG, "is not of the form key=value");
    char *name = dpt_format("%.*s", (int)(equals - word), word);
    DPT_CHECK_ALLOC(name);
    const dpt_config_key *key = dpt_config_find(name);
    dpt_status status = DPT_OK;
    if (key == NULL) status = dpt_config_unknown(name);
    dpt_free(name);
    DPT_TRY(status);
    ptrdiff_t k = key - dpt_config_keys;
    DPT_CHECK(origin->layer[k] != DPT_CONFIG_FROM_OVERRIDE, DPT_ERR_CONFIG, "%s is given twice", key->name);
    DPT_TRY(set_from_text(config, key, equals + 1));
    origin->layer[k] = DPT_CONFIG_FROM_OVERRIDE;
    return DPT_OK;
}

static dpt_status apply_overrides(dpt_config *config, dpt_config_origin *origin, const char *const *words, int count) {
    for (int i = 0; i < count; i++) {
        dpt_status status = apply_override(config, origin, words[i]);
        if (status == DPT_ERR_CONFIG) return dpt_error_prefix(status, "override \"%s\": ", words[i]);
        DPT_TRY(status);
    }
    return DPT_OK;
}

/* ---- what the keys mean together ---- */

static const dpt_config_key *condition_key(const char *condition) {
    char name[LONGEST_SECTION * 2];
    size_t n = 0;
    for (; condition[n] != '=' && condition[n] != '!' && condition[n] != ':' && n + 1 < sizeof name; n++)
        name[n] = condition[n];
    name[n] = '\0';
    return dpt_config_find(name);
}

bool dpt_config_holds(const dpt_config *config, const char *condition) {
    const dpt_config_key *key = condition_key(condition);
    const char *setting = strchr(condition, ':');
    if (setting) return config->model.file == NULL && dpt_model_takes(config->model.name, setting + 1);
    const char *wanted = strchr(condition, '=') + 1;
    if (wanted[0] == '\0') return dpt_config_is_set(config, key) == (strchr(condition, '!') != NULL);
    size_t bytes;
    const char *choice = dpt_config_choice(key->range, *(const int *)dpt_config_member(config, key), &bytes);
    bool is = false;
    for (; wanted; wanted = strchr(wanted, ',') ? strchr(wanted, ',') + 1 : NULL)
        is |= strcspn(wanted, ",") == bytes && memcmp(choice, wanted, bytes) == 0;
    return is == (strchr(condition, '!') == NULL);
}

int dpt_config_condition_bytes(const char *condition) {
    size_t bytes = strlen(condition);
    return (int)(bytes > 2 && strcmp(condition + bytes - 2, "!=") == 0 ? bytes - 2 : bytes);
}

/* "file:line: " for a key from the file, "override: " for one from a word. */
static dpt_status blame(const dpt_config_origin *origin, ptrdiff_t k, const char *file, dpt_status status) {
    if (origin->layer[k] == DPT_CONFIG_FROM_OVERRIDE) return dpt_error_prefix(status, "override: ");
    if (origin->layer[k] == DPT_CONFIG_FROM_FILE) return dpt_error_prefix(status, "%s:%zu: ", file, origin->line[k]);
    return status;
}

/* The higher layer's of epochs and steps counts; one layer may not give both. */
static dpt_status choose_length(dpt_config *config, const dpt_config_origin *origin, const char *file) {
    if (config->epochs == 0 || config->steps == 0) return DPT_OK;
    ptrdiff_t epochs = dpt_config_find("epochs") - dpt_config_keys, steps = dpt_config_find("steps") - dpt_config_keys;
    if (origin->layer[epochs] == origin->layer[steps])
        return blame(origin, steps, file,
                     dpt_error(DPT_ERR_CONFIG, "epochs=%lld and steps=%lld are both given: give one",
                               (long long)config->epochs, (long long)config->steps));
    if (origin->layer[epochs] > origin->layer[steps])
        config->steps = 0;
    else
        config->epochs = 0;
    return DPT_OK;
}

static dpt_status does_nothing(const dpt_config *config, const dpt_config_key *key) {
    const char *setting = strchr(key->condition, ':');
    if (config->model.file && strncmp(key->name, "model.", 6) == 0)
        return dpt_error(DPT_ERR_CONFIG, "%s does nothing beside model.file: the layers say all", key->name);
    size_t end = strlen(key->condition) - 1;
    bool is_set = dpt_config_condition_bytes(key->condition) <= (int)end;
    if (setting == NULL && !is_set && key->condition[end] == '=')
        return dpt_error(DPT_ERR_CONFIG, "%s does nothing beside %.*s, whose entries say it", key->name, (int)end,
                         key->condition);
    if (setting == NULL)
        return dpt_error(DPT_ERR_CONFIG, "%s does nothing without %.*s", key->name,
                         dpt_config_condition_bytes(key->condition), key->condition);
    char all[512] = "";
    size_t length = 0;
    for (int i = 0; i < dpt_model_count; i++)
        if (dpt_model_takes(&dpt_models[i], setting + 1))
            length = dpt_append(all, sizeof all, length, "%s%s", length ? ", " : "", dpt_models[i].name);
    return dpt_error(DPT_ERR_CONFIG, "%s does nothing with model.name=%s; it is a setting of %s", key->name,
                     config->model.name->name, all);
}

/* Refuses keys without effect. One of a lower layer than what made it so is put back to its default. */
static dpt_status check_conditions(dpt_config *config, const dpt_config_origin *origin, const char *file) {
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++) {
        const dpt_config_key *key = &dpt_config_keys[k];
        if (key->condition == NULL || origin->layer[k] == DPT_CONFIG_FROM_DEFAULT) continue;
        if (dpt_config_holds(config, key->condition)) continue;
        if (origin->layer[k] >= origin->layer[condition_key(key->condition) - dpt_config_keys])
            return blame(origin, k, file, does_nothing(config, key));
        if (key->initial == NULL)
            dpt_config_unset(config, key);
        else
            DPT_TRY(set_from_text(config, key, key->initial));
    }
    return DPT_OK;
}

static dpt_status set_hidden(dpt_config_ints *hidden, const dpt_model_options *o) {
    dpt_free(hidden->item);
    *hidden = (dpt_config_ints){dpt_alloc_zero((size_t)o->n_hidden, sizeof *hidden->item), o->n_hidden};
    DPT_CHECK_ALLOC(hidden->item);
    for (int i = 0; i < o->n_hidden; i++) hidden->item[i] = o->hidden[i];
    return DPT_OK;
}

_Static_assert((int)DPT_CONFIG_BATCH_NORM_SYNC == DPT_MODEL_NORM_SYNC &&
                   (int)DPT_CONFIG_NORM_LAYER == DPT_MODEL_NORM_OF_LAYER &&
                   (int)DPT_CONFIG_ACTIVATION_RELU == DPT_MODEL_RELU &&
                   (int)DPT_CONFIG_ACTIVATION_SOFTPLUS == DPT_MODEL_SOFTPLUS,
               "the words of model.batch_norm, norm and activation stand in the order of the zoo's enums");

/* Settings of the model that nobody gave start as the zoo has them. */
static dpt_status set_model_defaults(dpt_config *config, const dpt_config_origin *origin) {
    const dpt_model_options *o = &config->model.name->defaults;
#define OPEN(key) (origin->layer[dpt_config_find(#key) - dpt_config_keys] == DPT_CONFIG_FROM_DEFAULT)
    if (OPEN(model.dropout)) config->model.dropout = o->dropout;
    if (OPEN(model.width)) config->model.width = o->width;
    if (OPEN(model.sigma)) config->model.sigma = o->sigma;
    if (OPEN(model.depth)) config->model.depth = o->depth;
    if (OPEN(model.modes)) config->model.modes = o->modes;
    bool of_batch = config->model.norm == DPT_CONFIG_NORM_BATCH;
    if (OPEN(model.batch_norm))
        config->model.batch_norm = of_batch ? (dpt_config_batch_norm)o->batch_norm : DPT_CONFIG_BATCH_NORM_NONE;
    if (OPEN(model.activation)) config->model.activation = (dpt_config_activation)o->activation;
    return OPEN(model.hidden) ? set_hidden(&config->model.hidden, o) : DPT_OK;
#undef OPEN
}

/* Targets that are the model's inputs. */
static dpt_status check_of_input(const dpt_config *config, const dpt_config_field *input) {
    DPT_CHECK((input->mean.count == 0 && input->std.count == 0 && input->log.count == 0) ||
                  !dpt_config_holds(config, "loss.name=bce,dice"),
              DPT_ERR_CONFIG,
              "loss.name=%s wants targets from 0 to 1, but those of model.name=%s are its inputs, which data.log, "
              "data.mean and data.std shift: without them (data.log= data.mean= data.std=)",
              config->loss.name == DPT_CONFIG_LOSS_BCE ? "bce" : "dice", config->model.name->name);
    return DPT_OK;
}

/* How the test samples are said. */
static dpt_status check_split(const dpt_config *config) {
    bool fraction = config->data.test.fraction > 0, count = config->data.test.count > 0,
         files = config->data.test.files.count > 0;
    DPT_CHECK(fraction + count + files <= 1, DPT_ERR_CONFIG,
              "%s and %s are both given: one of them says which samples are for testing",
              files ? "data.test.files" : "data.test.fraction", count ? "data.test.count" : "data.test.fraction");
    DPT_CHECK(config->data.split_seed.count <= 1, DPT_ERR_CONFIG, "data.split_seed: %lld numbers, at most one",
              (long long)config->data.split_seed.count);
    DPT_CHECK(config->data.split_seed.count == 0 || fraction || count, DPT_ERR_CONFIG,
              "data.split_seed does nothing without data.test.fraction or data.test.count");
    return DPT_OK;
}

static dpt_status check_fields(const dpt_config *config) {
    dpt_config_fields fields;
    dpt_status status = DPT_OK;
    DPT_TRY(dpt_config_fields_read(config, &fields));
    if (config->model.file == NULL && config->model.name->target == DPT_MODEL_OF_INPUT)
        status = check_of_input(config, &fields.item[0]);
    dpt_config_fields_free(&fields);
    return status;
}

static dpt_status check_together(const dpt_config *config) {
    DPT_CHECK(config->epochs > 0 || config->steps > 0, DPT_ERR_CONFIG, "neither epochs nor steps is set: give one");
    DPT_TRY(check_fields(config));
    DPT_TRY(check_split(config));
    DPT_CHECK(config->data.order != DPT_CONFIG_ORDER_WEIGHTED || config->data.weights != NULL, DPT_ERR_CONFIG,
              "data.order=weighted needs data.weights, the dataset that holds a weight for each training sample");
    DPT_CHECK(!dpt_config_holds(config, "schedule.name=cosine,linear,polynomial,plateau") ||
                  config->schedule.min_lr <= config->optimizer.lr,
              DPT_ERR_CONFIG, "schedule.min_lr=%g is above optimizer.lr=%g", config->schedule.min_lr,
              config->optimizer.lr);
    DPT_CHECK(config->early_stop.metric == NULL || config->eval_every > 0, DPT_ERR_CONFIG,
              "early_stop.metric=%s needs evaluations: eval_every is 0", config->early_stop.metric);
    DPT_CHECK(config->model.norm == DPT_CONFIG_NORM_BATCH || config->model.batch_norm == DPT_CONFIG_BATCH_NORM_NONE,
              DPT_ERR_CONFIG, "model.norm=%s beside model.batch_norm=%s: give one",
              config->model.norm == DPT_CONFIG_NORM_GROUP ? "group" : "layer",
              config->model.batch_norm == DPT_CONFIG_BATCH_NORM_SYNC ? "sync" : "local");
    DPT_CHECK(config->schedule.name != DPT_CONFIG_SCHEDULE_PLATEAU || config->eval_every > 0, DPT_ERR_CONFIG,
              "schedule.name=plateau follows evaluations: eval_every is 0");
    DPT_CHECK(config->model.file || config->model.name->target != DPT_MODEL_OF_INPUT ||
                  config->loss.name != DPT_CONFIG_LOSS_CROSS_ENTROPY,
              DPT_ERR_CONFIG,
              "model.name=%s gives back its input: a loss that compares values (loss=mse), not loss=cross_entropy",
              config->model.name->name);
    DPT_CHECK(config->schedule.warmup_steps == 0 || config->schedule.warmup_epochs == 0, DPT_ERR_CONFIG,
              "schedule.warmup_steps=%lld and schedule.warmup_epochs=%g are both given: give one",
              (long long)config->schedule.warmup_steps, config->schedule.warmup_epochs);
    DPT_CHECK(!config->optimizer.nesterov || config->optimizer.momentum > 0, DPT_ERR_CONFIG,
              "optimizer.nesterov looks ahead along the momentum: without optimizer.momentum=0");
    DPT_CHECK(!config->optimizer.by_bucket || !dpt_config_holds(config, "optimizer.name=lars,lamb"), DPT_ERR_CONFIG,
              "optimizer.by_bucket goes without lars and lamb");
    DPT_CHECK(config->loss.ignore.count <= 1, DPT_ERR_CONFIG, "loss.ignore: %lld labels, at most one",
              (long long)config->loss.ignore.count);
    DPT_CHECK(config->accumulate <= config->batch, DPT_ERR_CONFIG, "accumulate=%lld is more than batch=%lld",
              (long long)config->accumulate, (long long)config->batch);
    DPT_CHECK(!config->optimizer.by_bucket || config->optimizer.clip_norm == 0, DPT_ERR_CONFIG,
              "optimizer.by_bucket updates before the norm of all gradients is known: without optimizer.clip_norm");
    return DPT_OK;
}

/* ---- lifetime ---- */

dpt_status dpt_config_parse(const char *file, const char *text, size_t bytes, const char *const *overrides,
                            int override_count, dpt_config **config) {
    dpt_config_origin origin = {0};
    dpt_status status;
    *config = NULL;
    dpt_config *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    DPT_TRY_GOTO(set_defaults(made), fail);
    if (text != NULL) DPT_TRY_GOTO(dpt_config_read_yaml(made, &origin, file, text, bytes), fail);
    DPT_TRY_GOTO(apply_overrides(made, &origin, overrides, override_count), fail);
    DPT_TRY_GOTO(choose_length(made, &origin, file), fail);
    DPT_TRY_GOTO(check_conditions(made, &origin, file), fail);
    DPT_TRY_GOTO(set_conditional_defaults(made, &origin), fail);
    DPT_TRY_GOTO(set_test_paths(made, &origin), fail);
    DPT_TRY_GOTO(set_model_defaults(made, &origin), fail);
    DPT_TRY_GOTO(check_together(made), fail);
    *config = made;
    return DPT_OK;
fail:
    dpt_config_destroy(&made);
    return status;
}

dpt_status dpt_config_load(const char *path, const char *const *overrides, int override_count, dpt_config **config) {
    char *text = NULL;
    size_t bytes = 0;
    *config = NULL;
    if (path != NULL) DPT_TRY(dpt_file_read("config file", path, DPT_ERR_CONFIG, LARGEST_FILE, &text, &bytes));
    dpt_status status = dpt_config_parse(path, text, bytes, overrides, override_count, config);
    dpt_free(text);
    return status;
}

void dpt_config_destroy(dpt_config **config) {
    if (*config == NULL) return;
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++) dpt_config_unset(*config, &dpt_config_keys[k]);
    dpt_free(*config);
    *config = NULL;
}
