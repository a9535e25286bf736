/* test_config.c: every way in which a config can be right or wrong, and that what is written reads back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "check.h"
#include "cli/config_table.h"

static dpt_status parse_with(const char *text, const char *const *words, int count, dpt_config **config) {
    return dpt_config_parse("c.yaml", text, text ? strlen(text) : 0, words, count, config);
}

static dpt_status parse(const char *text, dpt_config **config) { return parse_with(text, NULL, 0, config); }

/* The text, without overrides, is refused with this message; nothing is returned. */
static void refuse(const char *text, const char *message) {
    dpt_config *config = (dpt_config *)1;
    CHECK_FAILS(parse(text, &config), DPT_ERR_CONFIG, message);
    CHECK(config == NULL);
}

static void refuse_word(const char *word, const char *message) {
    dpt_config *config;
    CHECK_FAILS(parse_with(NULL, &word, 1, &config), DPT_ERR_CONFIG, message);
    CHECK_FAILS(parse_with(NULL, &word, 1, &config), DPT_ERR_CONFIG, word);
}

static void defaults(void) {
    dpt_config *c;
    if (!CHECK_OK(parse(NULL, &c))) return;
    char text[32];
    CHECK_EQ_TEXT(c->model.name->name, "cnn");
    CHECK_EQ_I64(c->model.hidden.count, 0);
    CHECK_EQ_I64(c->data.files.count, 0);
    CHECK_EQ_TEXT(c->data.train.x, "/train/x");
    CHECK_EQ_TEXT(c->data.test.y, "/test/y");
    CHECK(c->data.mean.count == 1 && c->data.mean.item[0] == 0.286);
    CHECK_EQ_I64(c->batch, 128);
    CHECK_EQ_I64(c->epochs, 5);
    CHECK_EQ_I64(c->steps, 0);
    CHECK(c->optimizer.lr == 0.05 && c->optimizer.momentum == 0.9 && c->optimizer.eps == 1e-8);
    CHECK_EQ_I64(c->optimizer.no_decay.count, 5);
    CHECK_EQ_TEXT(c->optimizer.no_decay.item[0], "*.bias");
    CHECK_EQ_I64(c->schedule.name, DPT_CONFIG_SCHEDULE_COSINE);
    CHECK_EQ_I64(c->loss.name, DPT_CONFIG_LOSS_CROSS_ENTROPY);
    CHECK(c->run.dir == NULL && !c->run.overwrite);
    CHECK_EQ_I64(c->log.level, DPT_LOG_INFO);
    CHECK_EQ_TEXT(dpt_config_model_text(c, text, sizeof text), "cnn");
    dpt_config_destroy(&c);
    CHECK(c == NULL);
    dpt_config_destroy(&c);
    const char *empty[] = {"", "# nothing\n", "---\n", "{}"};
    for (int i = 0; i < 4; i++) {
        if (CHECK_OK(parse(empty[i], &c))) CHECK_EQ_I64(c->epochs, 5);
        dpt_config_destroy(&c);
    }
}

static void every_type(void) {
    dpt_config *c;
    const char *text =
        "model: mlp\n"
        "data:\n"
        "  files: [\"a*.h5\", 'b.h5']\n"
        "  train: {x: /a/x, y: /a/y}\n"
        "  mean: [0.5, -1, 2e3]\n"
        "  scale: 0.25\n"
        "model.hidden:\n  - 7\n  - 8\n  - 9\n"
        "optimizer: {name: adamw, frozen: fc1.weight}\n"
        "run: {overwrite: true, dir: null}\n"
        "steps: 9007199254740993\n"
        "comm: {bucket_mb: 0.5, thread: off}\n";
    if (!CHECK_OK(parse(text, &c))) return;
    CHECK_EQ_TEXT(c->model.name->name, "mlp");
    CHECK(c->model.hidden.count == 3 && c->model.hidden.item[2] == 9);
    CHECK_EQ_I64(c->data.files.count, 2);
    CHECK_EQ_TEXT(c->data.files.item[0], "a*.h5");
    CHECK_EQ_TEXT(c->data.train.y, "/a/y");
    CHECK_EQ_TEXT(c->data.test.x, "/test/x");
    CHECK(c->data.mean.count == 3 && c->data.mean.item[1] == -1 && c->data.mean.item[2] == 2000);
    CHECK_EQ_I64(c->data.std.count, 0); /* the built-in data's does not apply to these files */
    CHECK_EQ_I64(c->optimizer.name, DPT_CONFIG_OPTIMIZER_ADAMW);
    CHECK(c->optimizer.lr == 0.001);
    CHECK(c->optimizer.frozen.count == 1 && strcmp(c->optimizer.frozen.item[0], "fc1.weight") == 0);
    CHECK(c->run.overwrite && c->run.dir == NULL);
    CHECK_EQ_I64(c->steps, 9007199254740993); /* 2^53 + 1: no detour over double */
    CHECK_EQ_I64(c->epochs, 0);
    CHECK(c->comm.bucket_mb == 0.5);
    CHECK_EQ_I64(c->comm.thread, DPT_CONFIG_COMM_THREAD_OFF);
    dpt_config_destroy(&c);
}

static void precedence(void) {
    dpt_config *c;
    const char *words[] = {"optimizer.lr=0.25",          "steps=7",         "model.hidden=[3,4]",
                           "optimizer.no_decay=a,\"b\"", "data.files=x.h5", "model=mlp"};
    if (!CHECK_OK(parse_with("optimizer: {lr: 0.5, momentum: 0.75}\nepochs: 3\n", words, 6, &c))) return;
    CHECK(c->optimizer.lr == 0.25 && c->optimizer.momentum == 0.75);
    CHECK(c->steps == 7 && c->epochs == 0);
    CHECK(c->model.hidden.count == 2 && c->model.hidden.item[0] == 3 && c->model.hidden.item[1] == 4);
    CHECK_EQ_I64(c->optimizer.no_decay.count, 2);
    CHECK_EQ_TEXT(c->optimizer.no_decay.item[1], "b");
    CHECK_EQ_TEXT(c->data.files.item[0], "x.h5");
    dpt_config_destroy(&c);
    const char *back[] = {"epochs=2", "optimizer.no_decay=", "loss.class_weights=", "data.mean="};
    if (!CHECK_OK(parse_with("steps: 9\n", back, 4, &c))) return;
    CHECK(c->epochs == 2 && c->steps == 0 && c->optimizer.no_decay.count == 0);
    CHECK(c->loss.class_weights.item == NULL && c->data.mean.item == NULL); /* the model takes them as given else */
    dpt_config_destroy(&c);
    /* a higher layer may make a lower layer's key useless; it falls back, so equal runs have equal digests */
    const char *adamw[] = {"optimizer=adamw"};
    if (!CHECK_OK(parse_with("optimizer: {momentum: 0.5}\n", adamw, 1, &c))) return;
    CHECK(c->optimizer.momentum == 0.9 && c->optimizer.lr == 0.001);
    dpt_config_destroy(&c);
}

/* Test samples that are split off lie where those of training do, unless their place is given. */
static void splits(void) {
    dpt_config *c;
    static const char *const ways[] = {"fraction: 0.1", "count: 5", "files: b.h5"};
    for (int i = 0; i < 3; i++) {
        char text[200];
        snprintf(text, sizeof text, "epochs: 1\ndata: {files: a.h5, train: {x: /u, y: /v}, test: {y: /w, %s}}\n",
                 ways[i]);
        if (!CHECK_OK(parse(text, &c))) return;
        CHECK_EQ_TEXT(c->data.test.x, "/u");
        CHECK_EQ_TEXT(c->data.test.y, "/w");
        CHECK(dpt_config_splits(c) && c->data.split_seed.count == 0);
        dpt_config_destroy(&c);
    }
    if (!CHECK_OK(parse("epochs: 1\ndata: {train: {x: /u, exclude: bad.txt}}\n", &c))) return;
    CHECK_EQ_TEXT(c->data.test.x, "/test/x");
    CHECK_EQ_TEXT(c->data.train.exclude, "bad.txt");
    CHECK(!dpt_config_splits(c) && c->data.test.include == NULL);
    dpt_config_destroy(&c);
    refuse("data: {files: a.h5, test: {fraction: 0.1, files: b.h5}}\n",
           "data.test.files and data.test.fraction are both given");
    refuse("data: {files: a.h5, test: {count: 2, files: b.h5}}\n",
           "data.test.files and data.test.count are both given");
    refuse("data: {test: {files: b.h5}}\n", "data.test.files does nothing without data.files");
    refuse("data: {split_seed: [1, 2], test: {count: 2}}\n", "data.split_seed: 2 numbers, at most one");
}

static void bad_keys(void) {
    refuse("batch: 4\noptimzer:\n  lr: 1\n", "c.yaml:2:1: unknown key optimzer; did you mean optimizer?");
    refuse("optimizer:\n  learning: 1\n", "c.yaml:2:3: unknown key optimizer.learning");
    refuse("optimizer:\n  momentun: 1\n", "did you mean optimizer.momentum?");
    refuse("batch: 4\nseed: 1\nbatch: 5\n", "c.yaml:3:1: batch is given twice, first in line 1");
    refuse("optimizer: {lr: 1}\noptimizer.lr: 2\n", "c.yaml:2:1: optimizer.lr is given twice, first in line 1");
    refuse("run: {overwrite: true}\nrun: {dir: a}\n", "c.yaml:2:1: run is given twice");
    refuse("data: 5\n", "c.yaml:1:7: data: takes keys of its own, not a value");
    refuse("batch:\n  x: 5\n", "c.yaml:2:3: batch: takes a value, not keys of its own");
    refuse("? [a, b]\n: 1\n", "c.yaml:1:3: a key must be a name");
    refuse("[1, 2]\n", "c.yaml:1:1: not a config");
    refuse("just text\n", "not a config");
    refuse("epochs: 1\nsteps: 2\n", "c.yaml:2: epochs=1 and steps=2 are both given");
    refuse("schedule: constant\nschedule.min_lr: 1e-9\n",
           "c.yaml:2: schedule.min_lr does nothing without "
           "schedule.name=cosine");
    refuse("model: {name: cnn, hidden: [4]}\n",
           "c.yaml:1: model.hidden does nothing with model.name=cnn; it is a setting of mlp, surrogate");
    char name[2 * 128 + 16];
    memset(name, 'k', sizeof name);
    memcpy(name + sizeof name - 5, ": 1\n", 5);
    refuse(name, "c.yaml:1:1: unknown key kkk");
    refuse_word("optimzer.lr=1", "unknown key optimzer.lr; did you mean optimizer.lr?");
    refuse_word("=1", "is not of the form key=value");
    refuse_word("optimizer.momentum=1e-1=2", "is not a number");
    dpt_config *c;
    const char *useless[] = {"optimizer.beta1=0.5"};
    CHECK_FAILS(parse_with(NULL, useless, 1, &c), DPT_ERR_CONFIG,
                "override: optimizer.beta1 does nothing without optimizer.name=adamw");
    refuse("device: cpu\ncuda: {graph: off}\n", "c.yaml:2: cuda.graph does nothing without device!=cpu");
    refuse("epochs: null\n", "neither epochs nor steps is set");
    const char *twice[] = {"batch=1", "batch=2"}, *both[] = {"epochs=1", "steps=2"};
    CHECK_FAILS(parse_with(NULL, twice, 2, &c), DPT_ERR_CONFIG, "override \"batch=2\": batch is given twice");
    CHECK_FAILS(parse_with(NULL, both, 2, &c), DPT_ERR_CONFIG, "both given");
}

/* Settings of a model that are not given are the zoo's; those of a list of layers are none. */
static void models(void) {
    const char *deep[] = {"model=vgg16"}, *file[] = {"model.file=nets/deep.yaml"},
               *both[] = {"model.file=a.yaml", "model.dropout=0.1"}, *named[] = {"model.file=a.yaml", "model.name=mlp"};
    dpt_config *c;
    char text[32];
    if (CHECK_OK(parse_with(NULL, deep, 1, &c))) CHECK(c->model.dropout == 0.5 && c->model.width == 4096);
    dpt_config_destroy(&c);
    if (CHECK_OK(parse("model: {name: vgg16, dropout: 0}\n", &c))) CHECK(c->model.dropout == 0);
    dpt_config_destroy(&c);
    if (CHECK_OK(parse("model: mlp\n", &c))) CHECK(c->model.hidden.count == 2 && c->model.hidden.item[1] == 512);
    dpt_config_destroy(&c);
    if (CHECK_OK(parse("model: resnet18\n", &c))) CHECK_EQ_I64(c->model.batch_norm, DPT_CONFIG_BATCH_NORM_LOCAL);
    dpt_config_destroy(&c);
    if (CHECK_OK(parse_with("model: mlp\n", file, 1, &c))) {
        CHECK_EQ_TEXT(dpt_config_model_text(c, text, sizeof text), "deep");
        char *written;
        if (CHECK_OK(dpt_config_text(c, &written))) CHECK(strstr(written, "model:\n  file: \"nets/deep.yaml\"\ndata"));
        dpt_free(written);
    }
    dpt_config_destroy(&c);
    CHECK_FAILS(parse_with(NULL, both, 2, &c), DPT_ERR_CONFIG, "model.dropout does nothing beside model.file");
    CHECK_FAILS(parse_with(NULL, named, 2, &c), DPT_ERR_CONFIG, "model.name does nothing beside model.file");
    if (CHECK_OK(parse("model:\n  layers:\n    - {type: relu}\n", &c))) CHECK_EQ_TEXT(c->model.file, "c.yaml");
    dpt_config_destroy(&c);
    refuse("model: {file: a.yaml, layers: [{type: relu}]}\n", "c.yaml:1:23: model.layers beside model.file");
    refuse("model: {layers: 3}\n", "c.yaml:1:17: model.layers: a list of layers");
}

/* A key that a word makes useless is put back, whether it has a default or none. */
static void useless_below(void) {
    const char *cpu[] = {"device=cpu"}, *share[] = {"cuda.memory=0.5", "cuda.graph=off", "cuda.sync=op"};
    const char *file = "cuda:\n  memory: 0.5\n  graph: off\n";
    dpt_config *c;
    if (CHECK_OK(parse_with(file, NULL, 0, &c))) CHECK(c->cuda.memory == 0.5 && c->cuda.graph == DPT_CONFIG_GRAPH_OFF);
    dpt_config_destroy(&c);
    if (CHECK_OK(parse_with(file, cpu, 1, &c))) CHECK(c->cuda.memory == 0 && c->cuda.graph == DPT_CONFIG_GRAPH_AUTO);
    dpt_config_destroy(&c);
    if (CHECK_OK(parse_with(NULL, share, 3, &c))) CHECK_EQ_I64(c->cuda.sync, DPT_CONFIG_CUDA_SYNC_OP);
    dpt_config_destroy(&c);
}

/* Losses, schedules, optimisers: keys that do not go together, and conditions of several values. */
static void bad_together(void) {
    refuse("loss: huber\nloss.smoothing: 0.1\n", "loss.smoothing does nothing without loss.name=cross_entropy");
    refuse("loss: l1\nloss.delta: 2\n", "loss.delta does nothing without loss.name=huber");
    refuse("loss.smoothing: 1\n", "loss.smoothing: 1 is not in [0, 1)");
    refuse("loss.class_weights: [1, 2]\n", "loss.class_weights has 2 values, data.classes is 10");
    refuse("loss.class_weights: [-1]\n", "loss.class_weights: -1 is not in");
    refuse("loss.ignore: [1, 2]\n", "loss.ignore: 2 labels, at most one");
    refuse("schedule: step\nschedule.min_lr: 0.1\n",
           "schedule.min_lr does nothing without schedule.name=cosine,linear,polynomial,plateau");
    refuse("schedule: linear\nschedule.min_lr: 1\n", "schedule.min_lr=1 is above optimizer.lr=0.05");
    refuse("schedule.warmup_steps: 5\nschedule.warmup_epochs: 1\n", "are both given: give one");
    refuse("optimizer: lars\noptimizer.nesterov: true\n", "optimizer.nesterov does nothing without optimizer.name=sgd");
    refuse("optimizer.nesterov: true\noptimizer.momentum: 0\n", "looks ahead along the momentum");
    refuse("optimizer: lamb\noptimizer.momentum: 0.5\n", "without optimizer.name=sgd,lars");
    refuse("optimizer: lamb\noptimizer.by_bucket: true\n", "goes without lars and lamb");
    refuse("average.decay: 1\n", "average.decay: 1 is not in (0, 1)");
}

static void bad_values(void) {
    refuse("seed: 1\nbatch: many\n", "c.yaml:2:8: batch: \"many\" is not an integer");
    refuse("batch: 1.5\n", "batch: \"1.5\" is not an integer");
    refuse("batch: \"5\"\n", "c.yaml:1:8: batch: \"5\" is a quoted text");
    refuse("batch: 0\n", "batch: 0 is not in [1, 1073741824]");
    refuse("batch: -3\n", "batch: -3 is not in");
    refuse("seed: 9223372036854775808\n", "seed: 9223372036854775808 is not in [0, inf)");
    refuse("batch: [1]\n", "c.yaml:1:8: batch: takes one value, not a list");
    refuse("batch:\n", "batch: has no value");
    refuse("optimizer.lr: fast\n", "optimizer.lr: \"fast\" is not a number");
    refuse("optimizer.lr: nan\n", "optimizer.lr: nan is not in [0, inf)");
    refuse("optimizer.lr: inf\n", "optimizer.lr: inf is not in");
    refuse("optimizer.lr: 1e999\n", "optimizer.lr: 1e999 is not in");
    refuse("optimizer.momentum: 1\n", "optimizer.momentum: 1 is not in [0, 1)");
    refuse("data.std: [1, 0]\n", "data.std: 0 is not in (0, inf)");
    refuse("data:\n  mean: [1, [2]]\n", "c.yaml:2:13: data.mean: an item must be one value");
    refuse("data: {mean: [1, 2], std: [1, 2, 3]}\n", "data.mean has 2 values and data.std 3");
    refuse("data: {mean: [1], std: [1, 2, 3]}\n", "data.mean has 1 values and data.std 3");
    refuse("data: {clip: [1, 2, 3]}\n", "data.clip has 3 values: the least and the largest");
    refuse("data: {clip: [2, 1]}\n", "data.clip=[2, 1]: the second must be above the first");
    refuse("data: {log: [0, 1]}\n", "data.log has 2 values: one, the offset");
    refuse("data: {files: [a], one_hot: 4, log: 1}\n", "data.one_hot makes 0 and 1 of the inputs: without data.scale");
    refuse("data: {one_hot: 1}\n", "data.one_hot: 1 is not in [2, 1048576]");
    refuse("model: mpl\n", "c.yaml:1:8: model.name: no model \"mpl\": did you mean \"mlp\"?");
    refuse("model: transformer\n", "no model \"transformer\": there are mlp, cnn, ");
    refuse("run.overwrite: maybe\n", "run.overwrite: \"maybe\" is neither true nor false");
    refuse("data.files: [a, \"\"]\n", "data.files: item 2 is empty");
    refuse("schedule.min_lr: 1\n", "schedule.min_lr=1 is above optimizer.lr=0.05");
    refuse("batch: 2\naccumulate: 3\n", "accumulate=3 is more than batch=2");
    refuse_word("batch=", "batch: has no value");
    refuse_word("model.hidden=[1,2", "lacks the closing ]");
    refuse_word("model.hidden=1,,2", "\"\" is not an integer");
    refuse_word("batch= 5", "is not an integer");
}

static void bad_yaml(void) {
    refuse("batch: 4\nrun: {dir: a\n", "c.yaml:3:1: not valid YAML");
    refuse("batch: 4\n\tseed: 1\n", "c.yaml:2:1: not valid YAML");
    refuse("batch: 4\nrun.dir: \"\xff\"\n", "c.yaml:2:11: not valid YAML");
    refuse("batch: &a 4\n", "c.yaml:1:8: anchors (&) and tags (!) are not taken");
    refuse("batch: !!int 4\n", "anchors (&) and tags (!)");
    refuse("run: &a {dir: x}\n", "anchors");
    refuse("optimizer.no_decay: [*.bias]\n", "c.yaml:1:2");
    refuse("run.dir: *x\n", "c.yaml:1:10: \"*x\" is an alias");
    refuse("batch: 4\n---\nbatch: 5\n", "c.yaml:2:1: a second document");
    refuse("run.dir: \"a\\0b\"\n", "c.yaml:1:10: a zero byte");
    char deep[20001];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    refuse(deep, "c.yaml:1:");
    memcpy(deep, "data.mean: ", 11);
    refuse(deep, "c.yaml:1:13: data.mean: an item must be one value");
}

static void files(void) {
    dpt_config *c;
    char path[400], big[400];
    snprintf(path, sizeof path, "%s/none.yaml", check_tmpdir());
    CHECK_FAILS(dpt_config_load(path, NULL, 0, &c), DPT_ERR_CONFIG, "none.yaml: No such file or directory");
    CHECK_FAILS(dpt_config_load(check_tmpdir(), NULL, 0, &c), DPT_ERR_CONFIG, "Is a directory");
    snprintf(big, sizeof big, "%s/big.yaml", check_tmpdir());
    FILE *out = fopen(big, "w");
    for (int i = 0; i <= 1 << 20; i++) fputc('\n', out);
    fclose(out);
    CHECK_FAILS(dpt_config_load(big, NULL, 0, &c), DPT_ERR_CONFIG, "over 1048576 bytes");
    out = fopen(path, "w");
    fputs("batch: 12\n", out);
    fclose(out);
    if (CHECK_OK(dpt_config_load(path, NULL, 0, &c))) CHECK_EQ_I64(c->batch, 12);
    dpt_config_destroy(&c);
    CHECK_OK(dpt_config_load(NULL, NULL, 0, &c));
    dpt_config_destroy(&c);
}

/* write(read(write(c))) == write(c), and both digests are equal; another value gives another digest. */
static void round_trip(void) {
    const char *words[] = {"model=mlp",
                           "model.hidden=1,2",
                           "data.files=[a*.h5]",
                           "data.mean=0.1,1e-300,123456789.125",
                           "data.clip=-1,2.5",
                           "data.log=0",
                           "steps=4",
                           "run.dir=with \"quotes\" \\ and\ttab: {\xc3\xa9}",
                           "optimizer.clip_norm=0.3",
                           "threads=3",
                           "optimizer.no_decay=",
                           "seed=9223372036854775807"};
    dpt_config *a, *b;
    char *first, *second;
    if (!CHECK_OK(parse_with(NULL, words, 12, &a))) return;
    CHECK_OK(dpt_config_text(a, &first));
    if (!CHECK_OK(parse(first, &b))) return;
    CHECK_OK(dpt_config_text(b, &second));
    CHECK_EQ_TEXT(second, first);
    CHECK_EQ_TEXT(b->run.dir, "with \"quotes\" \\ and\ttab: {\xc3\xa9}");
    CHECK(b->data.mean.count == 3 && b->data.mean.item[1] == 1e-300 && b->data.mean.item[2] == 123456789.125);
    CHECK(b->data.clip.count == 2 && b->data.clip.item[0] == -1 && b->data.clip.item[1] == 2.5);
    CHECK(b->data.log.count == 1 && b->data.log.item[0] == 0);
    CHECK_EQ_I64(b->seed, INT64_MAX);
    CHECK_EQ_I64(b->optimizer.no_decay.count, 0);
    CHECK(strstr(first, "data:\n  files: [\"a*.h5\"]\n  index: \"auto\"\n  train:\n    x: \"/train/x\"\n") != NULL);
    CHECK(strstr(first, "epochs") == NULL && strstr(first, "beta1") == NULL);
    dpt_digest da = {0}, db = {0}, dc = {0};
    CHECK_OK(dpt_config_digest(a, &da));
    CHECK_OK(dpt_config_digest(b, &db));
    b->seed--;
    CHECK_OK(dpt_config_digest(b, &dc));
    CHECK(da.value == db.value && da.value != dc.value);
    dpt_free(first);
    dpt_free(second);
    dpt_config_destroy(&a);
    dpt_config_destroy(&b);
}

/* A default that was taken away on purpose does not come back. */
static void round_trip_unset(void) {
    const char *words[] = {"data.mean=", "data.std="};
    dpt_config *a, *b;
    char *text;
    if (!CHECK_OK(parse_with(NULL, words, 2, &a))) return;
    CHECK_EQ_I64(a->data.mean.count, 0);
    CHECK_OK(dpt_config_text(a, &text));
    if (CHECK_OK(parse(text, &b))) CHECK_EQ_I64(b->data.mean.count + b->data.std.count, 0);
    dpt_free(text);
    dpt_config_destroy(&a);
    dpt_config_destroy(&b);
}

/* The rows are consistent: names are found, numbers have an interval, conditions name a choice, or a
 * key that may be unset. */
static void table(void) {
    for (int k = 0; k < DPT_CONFIG_KEY_COUNT; k++) {
        const dpt_config_key *key = &dpt_config_keys[k];
        CHECK(dpt_config_find(key->name) == key);
        CHECK(key->help[0] != '\0' && strchr(key->help, '|') == NULL);
        bool is_number = key->kind == DPT_CONFIG_INT || key->kind == DPT_CONFIG_FLOAT || key->kind == DPT_CONFIG_INTS ||
                         key->kind == DPT_CONFIG_FLOATS;
        if (is_number) check_that(strpbrk(key->range, "[(") == key->range, __FILE__, __LINE__, "%s", key->name);
        if (key->condition == NULL) continue;
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(key->condition, "!=:"), key->condition);
        if (!CHECK(dpt_config_find(name) != NULL)) continue;
        const char *setting = strchr(key->condition, ':');
        bool unset = key->condition[strlen(key->condition) - 1] == '='; /* any kind may be not set */
        if (!unset) CHECK_EQ_I64(dpt_config_find(name)->kind, setting ? (int)DPT_CONFIG_MODEL : (int)DPT_CONFIG_CHOICE);
        int takers = 0; /* a setting that no model follows would be a key that nobody can give */
        for (int i = 0; setting && i < dpt_model_count; i++) takers += dpt_model_takes(&dpt_models[i], setting + 1);
        CHECK(setting == NULL || takers > 0);
        if (unset) CHECK(dpt_config_find(name)->initial == NULL);
    }
}

static void reference(void) {
    char *printed = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&printed, &bytes);
    dpt_config_reference(out);
    fclose(out);
    static char kept[1 << 17];
    FILE *in = fopen(DPT_CONFIG_REFERENCE, "r");
    if (CHECK(in != NULL)) {
        size_t n = fread(kept, 1, sizeof kept - 1, in);
        fclose(in);
        kept[n] = '\0';
        check_that(n == bytes && memcmp(kept, printed, n) == 0, __FILE__, __LINE__,
                   "docs/config.md is not what the table prints: dptrain train --help > docs/config.md");
    }
    CHECK(strstr(printed,
                 "| `optimizer.lr` | number in [0, inf) | `0.05`; `0.001` with `optimizer.name=adamw,adam,lamb` |"));
    CHECK(strstr(printed, "| `model.name` | one of `mlp`, `cnn`, "));
    free(printed);
}

static void words(void) {
    char *argv[] = {"mlp", "optimizer.lr=0.1", "my.yaml", "batch=4", "cnn", ".yaml"};
    dpt_words w;
    if (!CHECK_OK(dpt_words_split(6, argv, &w))) return;
    CHECK_EQ_TEXT(w.config, "my.yaml");
    CHECK_EQ_I64(w.override_count, 2);
    CHECK_EQ_TEXT(w.override[1], "batch=4");
    CHECK_EQ_I64(w.positional_count, 3);
    CHECK_EQ_TEXT(w.positional[1], "cnn");
    dpt_words_free(&w);
    char *two[] = {"a.yaml", "b.yml"}, *option[] = {"--fast"};
    CHECK_FAILS(dpt_words_split(2, two, &w), DPT_ERR_CONFIG, "two config files: a.yaml and b.yml");
    CHECK_FAILS(dpt_words_split(1, option, &w), DPT_ERR_CONFIG, "unknown option \"--fast\"");
    CHECK_OK(dpt_words_split(0, NULL, &w));
    CHECK(w.config == NULL && w.override_count == 0 && w.positional_count == 0);
    dpt_words_free(&w);
}

static void make_file(const char *name) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), name);
    FILE *out = fopen(path, "w");
    if (CHECK(out != NULL)) fclose(out);
}

/* 'B' (0x42) comes before 'a' (0x61) by bytes, after it in most locales. */
static void globs(void) {
    dpt_config *c;
    dpt_config_texts found;
    char word[1000];
    const char *list[] = {word};
    make_file("part-a.h5");
    make_file("part-B.h5");
    make_file("part-10.h5");
    make_file("alone.h5");
    snprintf(word, sizeof word, "data.files=%s/part-*.h5,%s/alone.h5", check_tmpdir(), check_tmpdir());
    if (!CHECK_OK(parse_with(NULL, list, 1, &c))) return;
    if (CHECK_OK(dpt_config_files(c, &found)) && CHECK_EQ_I64(found.count, 4)) {
        const char *wanted[] = {"part-10.h5", "part-B.h5", "part-a.h5", "alone.h5"};
        for (int i = 0; i < 4; i++) CHECK_EQ_TEXT(strrchr(found.item[i], '/') + 1, wanted[i]);
    }
    dpt_config_files_free(&found);
    dpt_config_destroy(&c);
    snprintf(word, sizeof word, "data.files=%s/none-*.h5", check_tmpdir());
    if (!CHECK_OK(parse_with(NULL, list, 1, &c))) return;
    CHECK_FAILS(dpt_config_files(c, &found), DPT_ERR_CONFIG, "none-*.h5");
    dpt_config_destroy(&c);
}

/* Whatever allocation fails, the status says so and nothing is left behind (the leak checker's part). */
static void no_memory(void) {
    const char *list[] = {"model=mlp", "model.hidden=3", "optimizer.frozen=a,b"};
    const char *text = "data: {files: [a, b], mean: [1, 2]}\nrun.dir: x\n";
    for (int64_t n = 1;; n++) {
        dpt_config *c;
        dpt_alloc_fail_at(n);
        dpt_status status = parse_with(text, list, 3, &c);
        dpt_alloc_fail_at(0);
        if (status == DPT_OK) {
            CHECK(n > 20);
            dpt_config_destroy(&c);
            return;
        }
        if (!CHECK_EQ_I64(status, DPT_ERR_MEMORY)) return;
        CHECK(c == NULL);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "config", {"defaults", defaults}, {"models", models}, {"every_type", every_type},
                      {"precedence", precedence}, {"splits", splits}, {"bad_keys", bad_keys},
                      {"useless_below", useless_below}, {"bad_values", bad_values}, {"bad_together", bad_together},
                      {"bad_yaml", bad_yaml}, {"files", files}, {"round_trip", round_trip},
                      {"round_trip_unset", round_trip_unset}, {"table", table}, {"reference", reference},
                      {"words", words}, {"globs", globs}, {"no_memory", no_memory});
}
