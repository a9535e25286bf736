/* config.h: what a run is told to do: the built-in job, changed by a YAML file, changed by key=value words.
 *
 *   dpt_words words;
 *   dpt_config *config;
 *   DPT_TRY(dpt_words_split(argc - 1, argv + 1, &words));
 *   DPT_TRY(dpt_config_load(words.config, words.override, words.override_count, &config));
 *
 * One table (config_table.h) makes the parser, the defaults, the resolved file and docs/config.md: a key is the path of
 * its member here, its type is the member's type. A key that would do nothing is an error, in a file as in a word.
 *
 * All functions are local. */
#ifndef DPT_CLI_CONFIG_H
#define DPT_CLI_CONFIG_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/hash.h"
#include "dptrain/types.h"
#include "models/zoo.h"

/* X(name, text). The texts are what a config says. */
#define DPT_CONFIG_STEM_LIST(X)       \
    X(DPT_CONFIG_STEM_AUTO, "auto")   \
    X(DPT_CONFIG_STEM_SMALL, "small") \
    X(DPT_CONFIG_STEM_LARGE, "large")
#define DPT_CONFIG_ACTIVATION_LIST(X)           \
    X(DPT_CONFIG_ACTIVATION_RELU, "relu")       \
    X(DPT_CONFIG_ACTIVATION_GELU, "gelu")       \
    X(DPT_CONFIG_ACTIVATION_TANH, "tanh")       \
    X(DPT_CONFIG_ACTIVATION_SIGMOID, "sigmoid") \
    X(DPT_CONFIG_ACTIVATION_SILU, "silu")       \
    X(DPT_CONFIG_ACTIVATION_SOFTPLUS, "softplus")
#define DPT_CONFIG_BATCH_NORM_LIST(X)       \
    X(DPT_CONFIG_BATCH_NORM_NONE, "none")   \
    X(DPT_CONFIG_BATCH_NORM_LOCAL, "local") \
    X(DPT_CONFIG_BATCH_NORM_SYNC, "sync")
#define DPT_CONFIG_NORM_LIST(X)       \
    X(DPT_CONFIG_NORM_BATCH, "batch") \
    X(DPT_CONFIG_NORM_GROUP, "group") \
    X(DPT_CONFIG_NORM_LAYER, "layer")
#define DPT_CONFIG_ORDER_LIST(X)             \
    X(DPT_CONFIG_ORDER_AUTO, "auto")         \
    X(DPT_CONFIG_ORDER_EXACT, "exact")       \
    X(DPT_CONFIG_ORDER_LANES, "lanes")       \
    X(DPT_CONFIG_ORDER_WEIGHTED, "weighted") \
    X(DPT_CONFIG_ORDER_BALANCED, "balanced") \
    X(DPT_CONFIG_ORDER_BUCKETS, "buckets")
#define DPT_CONFIG_CACHE_LIST(X)      \
    X(DPT_CONFIG_CACHE_AUTO, "auto") \
    X(DPT_CONFIG_CACHE_NODE, "node") \
    X(DPT_CONFIG_CACHE_RANK, "rank") \
    X(DPT_CONFIG_CACHE_OFF, "off")
#define DPT_CONFIG_OPTIMIZER_LIST(X)       \
    X(DPT_CONFIG_OPTIMIZER_SGD, "sgd")     \
    X(DPT_CONFIG_OPTIMIZER_ADAMW, "adamw") \
    X(DPT_CONFIG_OPTIMIZER_ADAM, "adam")   \
    X(DPT_CONFIG_OPTIMIZER_LARS, "lars")   \
    X(DPT_CONFIG_OPTIMIZER_LAMB, "lamb")
#define DPT_CONFIG_SCHEDULE_LIST(X)                 \
    X(DPT_CONFIG_SCHEDULE_CONSTANT, "constant")     \
    X(DPT_CONFIG_SCHEDULE_COSINE, "cosine")         \
    X(DPT_CONFIG_SCHEDULE_STEP, "step")             \
    X(DPT_CONFIG_SCHEDULE_MULTISTEP, "multistep")   \
    X(DPT_CONFIG_SCHEDULE_LINEAR, "linear")         \
    X(DPT_CONFIG_SCHEDULE_POLYNOMIAL, "polynomial") \
    X(DPT_CONFIG_SCHEDULE_ONE_CYCLE, "one_cycle")   \
    X(DPT_CONFIG_SCHEDULE_PLATEAU, "plateau")
#define DPT_CONFIG_UNIT_LIST(X)         \
    X(DPT_CONFIG_UNIT_EPOCHS, "epochs") \
    X(DPT_CONFIG_UNIT_STEPS, "steps")
#define DPT_CONFIG_LOSS_LIST(X)                       \
    X(DPT_CONFIG_LOSS_CROSS_ENTROPY, "cross_entropy") \
    X(DPT_CONFIG_LOSS_MSE, "mse")                     \
    X(DPT_CONFIG_LOSS_L1, "l1")                       \
    X(DPT_CONFIG_LOSS_HUBER, "huber")                 \
    X(DPT_CONFIG_LOSS_BCE, "bce")                     \
    X(DPT_CONFIG_LOSS_DICE, "dice")
#define DPT_CONFIG_FLIP_LIST(X)                 \
    X(DPT_CONFIG_FLIP_NONE, "none")             \
    X(DPT_CONFIG_FLIP_HORIZONTAL, "horizontal") \
    X(DPT_CONFIG_FLIP_VERTICAL, "vertical")     \
    X(DPT_CONFIG_FLIP_BOTH, "both")
#define DPT_CONFIG_PADDING_LIST(X)       \
    X(DPT_CONFIG_PADDING_ZEROS, "zeros") \
    X(DPT_CONFIG_PADDING_REFLECT, "reflect")
#define DPT_CONFIG_DEVICE_LIST(X)     \
    X(DPT_CONFIG_DEVICE_AUTO, "auto") \
    X(DPT_CONFIG_DEVICE_CPU, "cpu")   \
    X(DPT_CONFIG_DEVICE_CUDA, "cuda")
#define DPT_CONFIG_PRECISION_LIST(X)     \
    X(DPT_CONFIG_PRECISION_FP32, "fp32") \
    X(DPT_CONFIG_PRECISION_TF32, "tf32") \
    X(DPT_CONFIG_PRECISION_BF16, "bf16") \
    X(DPT_CONFIG_PRECISION_FP16, "fp16")
#define DPT_CONFIG_RECOMPUTE_LIST(X)     \
    X(DPT_CONFIG_RECOMPUTE_AUTO, "auto") \
    X(DPT_CONFIG_RECOMPUTE_NONE, "none") \
    X(DPT_CONFIG_RECOMPUTE_NORM, "norm")
#define DPT_CONFIG_COMM_THREAD_LIST(X)     \
    X(DPT_CONFIG_COMM_THREAD_AUTO, "auto") \
    X(DPT_CONFIG_COMM_THREAD_ON, "on")     \
    X(DPT_CONFIG_COMM_THREAD_OFF, "off")

#define DPT_CONFIG_SWITCH_LIST(X)   \
    X(DPT_CONFIG_SWITCH_OFF, "off") \
    X(DPT_CONFIG_SWITCH_ON, "on")
#define DPT_CONFIG_GRAPH_LIST(X)       \
    X(DPT_CONFIG_GRAPH_OFF, "off")     \
    X(DPT_CONFIG_GRAPH_AUTO, "auto")   \
    X(DPT_CONFIG_GRAPH_WHOLE, "whole") \
    X(DPT_CONFIG_GRAPH_SEGMENTS, "segments")
#define DPT_CONFIG_COMM_LIBRARY_LIST(X)     \
    X(DPT_CONFIG_COMM_LIBRARY_AUTO, "auto") \
    X(DPT_CONFIG_COMM_LIBRARY_NCCL, "nccl") \
    X(DPT_CONFIG_COMM_LIBRARY_MPI, "mpi")
#define DPT_CONFIG_COMM_DTYPE_LIST(X)     \
    X(DPT_CONFIG_COMM_DTYPE_FP32, "fp32") \
    X(DPT_CONFIG_COMM_DTYPE_BF16, "bf16")
#define DPT_CONFIG_BIND_LIST(X)   \
    X(DPT_CONFIG_BIND_OFF, "off") \
    X(DPT_CONFIG_BIND_AUTO, "auto")
#define DPT_CONFIG_CUDA_SYNC_LIST(X)   \
    X(DPT_CONFIG_CUDA_SYNC_OFF, "off") \
    X(DPT_CONFIG_CUDA_SYNC_OP, "op")

#define DPT_CONFIG_CHOICE_ENUM(name, text) name,
typedef enum dpt_config_activation { DPT_CONFIG_ACTIVATION_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_activation;
typedef enum dpt_config_batch_norm { DPT_CONFIG_BATCH_NORM_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_batch_norm;
typedef enum dpt_config_norm { DPT_CONFIG_NORM_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_norm;
typedef enum dpt_config_stem { DPT_CONFIG_STEM_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_stem;
typedef enum dpt_config_order { DPT_CONFIG_ORDER_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_order;
typedef enum dpt_config_cache { DPT_CONFIG_CACHE_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_cache;
typedef enum dpt_config_optimizer { DPT_CONFIG_OPTIMIZER_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_optimizer;
typedef enum dpt_config_unit { DPT_CONFIG_UNIT_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_unit;
typedef enum dpt_config_schedule { DPT_CONFIG_SCHEDULE_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_schedule;
typedef enum dpt_config_loss { DPT_CONFIG_LOSS_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_loss;
typedef enum dpt_config_flip { DPT_CONFIG_FLIP_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_flip;
typedef enum dpt_config_padding { DPT_CONFIG_PADDING_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_padding;
typedef enum dpt_config_device { DPT_CONFIG_DEVICE_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_device;
typedef enum dpt_config_precision { DPT_CONFIG_PRECISION_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_precision;
typedef enum dpt_config_recompute { DPT_CONFIG_RECOMPUTE_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_recompute;
typedef enum dpt_config_comm_thread { DPT_CONFIG_COMM_THREAD_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_comm_thread;
typedef enum dpt_config_switch { DPT_CONFIG_SWITCH_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_switch;
typedef enum dpt_config_graph { DPT_CONFIG_GRAPH_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_graph;
typedef enum dpt_config_comm_library { DPT_CONFIG_COMM_LIBRARY_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_comm_library;
typedef enum dpt_config_comm_dtype { DPT_CONFIG_COMM_DTYPE_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_comm_dtype;
typedef enum dpt_config_bind { DPT_CONFIG_BIND_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_bind;
typedef enum dpt_config_cuda_sync { DPT_CONFIG_CUDA_SYNC_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_cuda_sync;
#undef DPT_CONFIG_CHOICE_ENUM

typedef struct dpt_config_ints {
    int64_t *item;
    int64_t count;
} dpt_config_ints;
typedef struct dpt_config_floats {
    double *item;
    int64_t count;
} dpt_config_floats;
typedef struct dpt_config_texts {
    char **item;
    int64_t count;
} dpt_config_texts;

/* Numbers that stand for words: a mean or std that is found from the data, of each channel or of all values. */
#define DPT_CONFIG_AUTO ((double)NAN)
#define DPT_CONFIG_AUTO_ALL ((double)INFINITY)

/* What each member means stands in config_table.h and docs/config.md. A member that is not set is 0, NULL or empty. */
typedef struct dpt_config {
    struct {
        const dpt_model *name;
        char *file; /* of a layer list; NULL: name counts */
        dpt_config_ints hidden;
        dpt_config_activation activation;
        double dropout;
        dpt_config_batch_norm batch_norm;
        dpt_config_norm norm;
        int64_t width, depth;
        int64_t modes;
        double sigma;
        dpt_config_stem stem;
    } model;
    struct {
        dpt_config_texts files; /* empty: the built-in job's data */
        char *index;            /* "auto", "none" or a folder */
        struct {
            char *x, *y;
            char *offsets;           /* of x; NULL: all samples have one shape */
            char *include, *exclude; /* lists of samples */
        } train;
        struct {
            char *x, *y;
            char *offsets;
            char *include, *exclude;
            dpt_config_texts files; /* empty: those of training */
            double fraction;        /* of the samples; 0: count */
            int64_t count;          /* 0: none are split off */
        } test;
        dpt_config_ints split_seed; /* none: seed; or one */
        int64_t length;             /* steps; 0: of the longest sample */
        bool cut;
        double pad;
        dpt_config_texts inputs, targets; /* entries (config_fields.h); empty: x, y */
        dpt_config_floats mean, std;      /* maybe DPT_CONFIG_AUTO or _AUTO_ALL */
        double scale;                     /* 0: by the stored type */
        dpt_config_floats clip;           /* none, or the two bounds */
        dpt_config_floats log;            /* none, or the offset */
        int64_t one_hot;                  /* 0: off */
        int64_t classes;
        dpt_config_order order;
        int64_t window; /* blocks */
        char *weights;  /* of order `weighted` */
        char *lengths;  /* of order `buckets`; NULL: of the sequences */
        int64_t bucket_batches;
        int64_t threads;
        double memory, read_ahead; /* MiB; 0: chosen by the program */
        dpt_config_cache cache;
    } data;
    int64_t batch;
    int64_t epochs, steps; /* exactly one is > 0 */
    struct {
        int64_t steps; /* 0: a pass over the samples */
    } epoch;
    int64_t accumulate;
    int64_t eval_batch; /* 0: as batch */
    int64_t eval_every; /* epochs; 0: only at the end */
    struct {
        dpt_config_optimizer name;
        double lr, momentum, beta1, beta2, eps, trust, weight_decay;
        bool nesterov;
        double clip_norm; /* 0: off */
        int64_t zero;
        bool by_bucket;
        dpt_config_texts no_decay, frozen, groups;
    } optimizer;
    struct {
        double decay; /* 0: off */
    } average;
    struct {
        dpt_config_schedule name;
        int64_t warmup_steps;
        double warmup_epochs; /* 0: warmup_steps count */
        double min_lr;
        dpt_config_unit unit;
        int64_t every;
        dpt_config_ints milestones;
        double gamma, power, div, final_div, rise;
        char *metric;
        int64_t patience;
        double threshold;
    } schedule;
    struct {
        dpt_config_loss name;
        double smoothing;
        dpt_config_floats class_weights;
        dpt_config_ints ignore; /* at most one */
        double delta;
    } loss;
    struct {
        dpt_config_flip flip;
        int64_t crop; /* pixels; 0: off */
        dpt_config_padding padding;
        int64_t cutout; /* pixels; 0: off */
        double brightness, contrast, saturation;
    } augment;
    struct {
        double alpha; /* 0: off */
    } mixup;
    dpt_config_texts metrics; /* empty: by the loss */
    struct {
        char *metric; /* NULL: off */
        int64_t patience;
        double min_delta;
    } early_stop;
    int64_t seed;
    dpt_config_device device;
    struct {
        dpt_config_graph graph;
        dpt_config_cuda_sync sync;
        double memory; /* 0: no limit; up to 1 a share, above that bytes */
    } cuda;
    dpt_config_switch deterministic;
    dpt_config_precision precision;
    dpt_config_recompute recompute;
    int64_t threads; /* per rank; 0: its share of the cores */
    int64_t profile; /* steps; 0: off */
    struct {
        char *dir; /* NULL: the default of run_dir.h */
        bool overwrite;
    } run;
    struct {
        dpt_config_comm_library library;
        dpt_config_comm_dtype dtype;
        double bucket_mb; /* 0: chosen by the program */
        dpt_config_comm_thread thread;
        int64_t ctas; /* 0: chosen */
        char *interface;
        double start_s;
        int64_t check; /* steps; 0: off */
        char *emulate;
    } comm;
    struct {
        bool enabled;
        double silence_s, stuck_s, limit_s;
    } watchdog;
    dpt_config_bind bind;
    struct {
        int64_t every;
        dpt_log_level level;
    } log;
} dpt_config;

/* The words of a command line after the subcommand, sorted by what they are; all borrowed from argv. */
typedef struct dpt_words {
    const char *config; /* the one that ends in .yaml or .yml; NULL: none */
    const char **override;
    int override_count;
    const char **positional;
    int positional_count;
} dpt_words;

/* DPT_ERR_CONFIG: two config files, or a word that begins with "-". */
dpt_status dpt_words_split(int argc, char *const *argv, dpt_words *words);
void dpt_words_free(dpt_words *words);

/* Reads the defaults, then the file (NULL: none), then the overrides ("optimizer.lr=0.1"; lists as [a,b] or a,b).
 * DPT_ERR_CONFIG: the file cannot be read, is no YAML or over 1 MiB; a key is unknown, given twice, of the wrong type,
 * out of range, or does nothing beside the others. The message says file:line:column, or the word. */
dpt_status dpt_config_load(const char *path, const char *const *overrides, int override_count, dpt_config **config);
/* The same with the file's text in memory (NULL: none); file is its name in messages. */
dpt_status dpt_config_parse(const char *file, const char *text, size_t bytes, const char *const *overrides,
                            int override_count, dpt_config **config);
void dpt_config_destroy(dpt_config **config);

/* The resolved config as YAML that reads back to the same; release with dpt_free. */
dpt_status dpt_config_text(const dpt_config *config, char **text);
/* Enters the resolved config into the start-up digest. */
dpt_status dpt_config_digest(const dpt_config *config, dpt_digest *digest);
/* Every key with type, default, range and meaning: the text of docs/config.md. */
void dpt_config_reference(FILE *out);

/* Whether test samples are split off the others: by fraction, count or files. */
bool dpt_config_splits(const dpt_config *config);

/* "mlp"; of a layer list the name of its file without folder and ending, in `text`. */
const char *dpt_config_model_text(const dpt_config *config, char *text, size_t bytes);

/* data.files with its patterns (glob(3)) replaced by the files that match, those sorted bytewise; release with
 * dpt_config_files_free. DPT_ERR_CONFIG: nothing matches a pattern or name. DPT_ERR_IO: a folder cannot be read. */
dpt_status dpt_config_files(const dpt_config *config, dpt_config_texts *files);
/* The same of data.test.files. */
dpt_status dpt_config_test_files(const dpt_config *config, dpt_config_texts *files);
void dpt_config_files_free(dpt_config_texts *files);

#endif
