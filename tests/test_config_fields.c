/* test_config_fields.c: the inputs and targets of a config, in the short form, as mappings and as words; what is wrong
 * with them; that what was found of them reads back. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "check.h"
#include "cli/config_fields.h"

static dpt_status parse(const char *text, const char *const *words, int count, dpt_config **config) {
    return dpt_config_parse("c.yaml", text, text ? strlen(text) : 0, words, count, config);
}

static void refuse(const char *text, const char *message) {
    dpt_config *config = (dpt_config *)1;
    CHECK_FAILS(parse(text, NULL, 0, &config), DPT_ERR_CONFIG, message);
    CHECK(config == NULL);
}

static bool same_floats(const dpt_config_floats *a, int count, const double *wanted) {
    bool same = a->count == count;
    for (int i = 0; same && i < count; i++) same = a->item[i] == wanted[i];
    return same;
}

static void short_form(void) {
    dpt_config *c;
    dpt_config_fields f;
    const char *words[] = {"data.files=a.h5", "data.train.x=/a/x", "data.scale=0.5",
                           "data.clip=-1,1",  "data.mean=auto",    "data.std=3"};
    if (!CHECK_OK(parse(NULL, words, 6, &c))) return;
    if (CHECK_OK(dpt_config_fields_read(c, &f))) {
        CHECK(f.inputs == 1 && f.count == 2);
        CHECK_EQ_TEXT(f.item[0].name, "x");
        CHECK_EQ_TEXT(f.item[0].train, "/a/x");
        CHECK_EQ_TEXT(f.item[0].test, "/test/x");
        CHECK(f.item[0].dtype == DPT_F32 && f.item[0].scale == 0.5 && f.item[0].classes == 0);
        CHECK(same_floats(&f.item[0].clip, 2, (double[]){-1, 1}));
        CHECK(dpt_config_is_auto(&f.item[0].mean) && !dpt_config_is_auto(&f.item[0].std));
        CHECK_EQ_TEXT(f.item[1].name, "y");
        CHECK_EQ_TEXT(f.item[1].test, "/test/y");
        CHECK(f.item[1].dtype == DPT_I64 && f.item[1].classes == 10 && f.item[1].weight == 1);
        CHECK(f.item[1].loss == DPT_CONFIG_LOSS_CROSS_ENTROPY && f.item[1].layer == NULL && f.item[1].scale == 0);
        /* what was found stands in the config, and only in place of what was to be found */
        CHECK_OK(dpt_config_fields_keep(c, &f, 0, 1, (double[]){7}, (double[]){8}));
        CHECK(same_floats(&c->data.mean, 1, (double[]){7}) && same_floats(&c->data.std, 1, (double[]){3}));
        CHECK(same_floats(&f.item[0].mean, 1, (double[]){7}));
        dpt_config_fields_free(&f);
    }
    dpt_config_destroy(&c);
}

static const char *const mapped =
    "model: {file: net.yaml}\n"
    "loss: mse\n"
    "data:\n"
    "  files: a.h5\n"
    "  inputs:\n"
    "    - {name: u, train: \"/train/the u\", scale: 0.25, clip: [-1, 2.5], log: 3, mean: [1, 2], std: auto}\n"
    "    - {type: i32, name: kind}\n"
    "    - v\n"
    "  targets:\n"
    "    - {name: flux, layer: head, mean: 0.5}\n"
    "    - {name: class, loss: cross_entropy, classes: 4, weight: 0.5, layer: top}\n";

static void check_mapped(const dpt_config *c) {
    dpt_config_fields f;
    if (!CHECK_OK(dpt_config_fields_read(c, &f))) return;
    CHECK(f.inputs == 3 && f.count == 5);
    const dpt_config_field *u = &f.item[0], *kind = &f.item[1], *flux = &f.item[3], *class = &f.item[4];
    CHECK_EQ_TEXT(u->train, "/train/the u");
    CHECK_EQ_TEXT(u->test, "/test/u");
    CHECK(u->scale == 0.25 && same_floats(&u->clip, 2, (double[]){-1, 2.5}) && same_floats(&u->log, 1, (double[]){3}));
    CHECK(same_floats(&u->mean, 2, (double[]){1, 2}) && u->std.count == 1 && isnan(u->std.item[0]));
    CHECK_EQ_TEXT(kind->name, "kind");
    CHECK(kind->dtype == DPT_I32 && f.item[2].dtype == DPT_F32);
    CHECK_EQ_TEXT(f.item[2].train, "/train/v");
    CHECK(flux->loss == DPT_CONFIG_LOSS_MSE && flux->dtype == DPT_F32 && flux->mean.item[0] == 0.5 &&
          flux->classes == 0);
    CHECK_EQ_TEXT(flux->layer, "head");
    CHECK(class->dtype == DPT_I64 && class->classes == 4 && class->weight == 0.5);
    dpt_config_fields_free(&f);
}

static void entries(void) {
    dpt_config *c, *again;
    char *text;
    if (!CHECK_OK(parse(mapped, NULL, 0, &c))) return;
    check_mapped(c);
    /* as it is written, and as words */
    if (CHECK_OK(dpt_config_text(c, &text)) && CHECK_OK(parse(text, NULL, 0, &again))) check_mapped(again);
    dpt_free(text);
    dpt_config_destroy(&again);
    dpt_config_destroy(&c);
    const char *words[] = {
        "model.file=net.yaml", "loss=mse", "data.files=a.h5",
        "data.inputs=[u train='/train/the u' scale=0.25 clip=-1:2.5 log=3 mean=1:2 std=auto, kind type=i32,v]",
        "data.targets=[flux layer=head mean=0.5,class loss=cross_entropy classes=4 weight=0.5 layer=top]"};
    if (CHECK_OK(parse(NULL, words, 5, &c))) check_mapped(c);
    dpt_config_destroy(&c);
}

/* What is kept of an entry reads back to it, bit by bit. */
static void kept(void) {
    dpt_config *c, *again;
    dpt_config_fields f, g;
    char *text;
    const double mean[] = {0.1, -1e300}, std[] = {1.0 / 3, 2e-308};
    if (!CHECK_OK(parse(mapped, NULL, 0, &c))) return;
    if (!CHECK_OK(dpt_config_fields_read(c, &f))) return;
    CHECK_OK(dpt_config_fields_keep(c, &f, 0, 2, mean, std)); /* its mean is given */
    f.item[3].mean.item[0] = DPT_CONFIG_AUTO_ALL;
    CHECK_OK(dpt_config_fields_keep(c, &f, 3, 1, &mean[0], std));
    CHECK_OK(dpt_config_text(c, &text));
    if (CHECK_OK(parse(text, NULL, 0, &again)) && CHECK_OK(dpt_config_fields_read(again, &g))) {
        CHECK(same_floats(&g.item[0].mean, 2, (double[]){1, 2}) && same_floats(&g.item[0].std, 2, std));
        CHECK_EQ_TEXT(g.item[0].train, "/train/the u");
        CHECK(g.item[0].scale == 0.25 && g.item[0].clip.count == 2 && g.item[0].log.count == 1);
        CHECK(same_floats(&g.item[3].mean, 1, mean) && g.item[3].std.count == 0);
        CHECK_EQ_I64(g.item[3].loss, DPT_CONFIG_LOSS_MSE);
        CHECK_EQ_TEXT(g.item[3].layer, "head");
        dpt_config_fields_free(&g);
    }
    dpt_free(text);
    dpt_config_destroy(&again);
    dpt_config_fields_free(&f);
    dpt_config_destroy(&c);
}

/* Beside a split a test dataset that is not named is that of training: one that is named must stay named. */
static void kept_beside_split(void) {
    static const char *const test[] = {"", ", test: /test/u", ", test: /train/u", ", test: /v"};
    static const char *const wanted[] = {"/train/u", "/test/u", "/train/u", "/v"};
    for (int i = 0; i < 4; i++) {
        dpt_config *c = NULL, *again = NULL;
        dpt_config_fields f, g;
        char *text = NULL, yaml[200];
        snprintf(
            yaml, sizeof yaml,
            "model: {file: net.yaml}\ndata: {files: [a.h5, b.h5], test: {files: b.h5}, inputs: [{name: u, mean: auto"
            "%s}]}\n",
            test[i]);
        if (!CHECK_OK(parse(yaml, NULL, 0, &c)) || !CHECK_OK(dpt_config_fields_read(c, &f))) return;
        CHECK_OK(dpt_config_fields_keep(c, &f, 0, 1, (double[]){7}, (double[]){8}));
        CHECK_OK(dpt_config_text(c, &text));
        if (CHECK_OK(parse(text, NULL, 0, &again)) && CHECK_OK(dpt_config_fields_read(again, &g))) {
            CHECK_EQ_TEXT(g.item[0].train, "/train/u");
            CHECK_EQ_TEXT(g.item[0].test, wanted[i]);
            CHECK(same_floats(&g.item[0].mean, 1, (double[]){7}));
            dpt_config_fields_free(&g);
        }
        dpt_free(text);
        dpt_config_destroy(&again);
        dpt_config_fields_free(&f);
        dpt_config_destroy(&c);
    }
}

#define LIST "model: {file: n.yaml}\n"
#define INPUTS(entries) LIST "data: {inputs: [" entries "]}\n"
#define TARGETS(entries) LIST "data: {targets: [" entries "]}\n"

static void bad_entries(void) {
    refuse(INPUTS("{train: /u}"), "c.yaml:2:17: data.inputs: an entry without a name");
    refuse(INPUTS("{name: u, name: v}"), "c.yaml:2:27: name is given twice");
    refuse(INPUTS("{name: u, scale: {a: 1}}"), "c.yaml:2:34: one value is expected");
    refuse(INPUTS("{name: u, train: \"/it's\"}"), "a quote (') is not taken here");
    refuse(INPUTS("{name: u, \"a b\": 1}"), "c.yaml:2:27: a key must be a name");
    refuse(INPUTS("[u]"), "data.inputs: an item must be one value");
    refuse("data: {files: [{name: a}]}\n", "data.files: an item must be one value");
    refuse(INPUTS("{name: u, scal: 1}"), "data.inputs \"u scal=1\": unknown key scal; did you mean scale?");
    refuse(INPUTS("{name: u, layer: 1}"), "unknown key layer");
    refuse(TARGETS("{name: u, one_hot: 3}"), "unknown key one_hot");
    refuse(INPUTS("u scale"), "\"scale\" is not of the form key=value");
    refuse(INPUTS("u scale=1 scale=2"), "scale is given twice");
    refuse(INPUTS("{name: u, scale: }"), "data.inputs \"u scale=\": scale has no value");
    refuse(INPUTS("{name: u, scale: 0}"), "scale: 0 is not in (0, inf)");
    refuse(INPUTS("{name: u, scale: auto}"), "scale: \"auto\" is not a number");
    refuse(INPUTS("{name: u, scale: [1, 2]}"), "scale: \"1:2\" is not a number");
    refuse(INPUTS("{name: u, type: f64}"), "type: \"f64\" is none of f32|u8|i32|i64");
    refuse(INPUTS("{name: u, type: i64, mean: 1}"), "make floats: without them for integers (type)");
    refuse(TARGETS("{name: u, scale: 2}"), "without them for integers (labels of classes)");
    refuse(INPUTS("{name: u, mean: [auto, 1]}"), "mean and std: auto and auto_all stand alone");
    refuse(INPUTS("{name: u, mean: auto, std: auto_all}"), "auto for both, or auto_all for both");
    refuse(INPUTS("{name: u, mean: [1, 2], std: 1}"), "mean has 2 values and std 1: as many of each");
    refuse(INPUTS("{name: u, clip: 1}"), "clip has 1 values");
    refuse(INPUTS("{name: u, one_hot: 4, log: 1}"), "one_hot makes 0 and 1 of the inputs");
    refuse(INPUTS("{name: u, train_offsets: /o}"), "train_offsets and test_offsets go together");
    refuse(INPUTS("{name: u, pad: 1}"), "length, cut, pad and lengths do nothing without train_offsets");
    refuse(INPUTS("{name: u, type: i64, train_offsets: a, test_offsets: b, pad: 0.5}"), "pad=0.5 is no value of i64");
    refuse(INPUTS("{name: n, lengths: true}"), "length, cut, pad and lengths do nothing without train_offsets");
    refuse(INPUTS("\"2u\""), "\"2u\" is no name");
    refuse(INPUTS("u train='/x"), "a quote (') that does not end");
    refuse(INPUTS("u, v, u"), "the name \"u\" is given twice");
    refuse(INPUTS("y"), "the name \"y\" is given twice");
    refuse(TARGETS("{name: t, loss: mse, classes: 3}"), "classes does nothing without loss=cross_entropy");
    refuse(TARGETS("t, {name: s, layer: a}"), "data.targets \"t\": with 2 targets each says which layer");
    refuse("data: {targets: [{name: t, layer: a}]}\n", "\"t\": layer does nothing without model.file");
    refuse("data: {inputs: [u, v]}\n", "model.name=cnn takes one input, but data.inputs has 2 (u, v)");
    refuse("data: {targets: [t, s]}\n", "model.name=cnn predicts one target, but data.targets has 2");
    refuse("model: autoencoder\nloss: mse\ndata: {targets: [t]}\n", "gives back its input: without data.targets");
    refuse(INPUTS("{name: u, type: i64}") "mixup.alpha: 0.2\n", "the input u holds integers, which cannot be mixed");
    refuse(INPUTS("u") "data.scale: 2\n", "c.yaml:3: data.scale does nothing beside data.inputs, whose entries say it");
    refuse(TARGETS("{name: t, classes: 3}") "loss.class_weights: [1, 2]\n",
           "class_weights has 2 values, classes of t is 3");
    char many[1000] = INPUTS("u");
    for (int i = 0; i < 20; i++) snprintf(many + strlen(many) - 3, 40, ", u%d]}\n", i);
    refuse(many, "data.inputs has 21 entries, at most 15");
}

static void no_memory(void) {
    dpt_config *c = NULL;
    for (int64_t n = 1; n < 5000; n++) {
        dpt_alloc_fail_at(n);
        dpt_status status = parse(mapped, NULL, 0, &c);
        dpt_alloc_fail_at(0);
        if (status == DPT_OK) break;
        CHECK_EQ_I64(status, DPT_ERR_MEMORY);
    }
    CHECK(c != NULL);
    dpt_config_destroy(&c);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "config_fields", {"short_form", short_form}, {"entries", entries}, {"kept", kept},
                      {"kept_beside_split", kept_beside_split}, {"bad_entries", bad_entries}, {"no_memory", no_memory});
}
