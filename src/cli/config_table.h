/* config_table.h: the one table of config keys, and what the config_*.c files share.
 *
 * A key is the path of its member in dpt_config and has the member's type; a new key is a member and a row, and
 * docs/config.md (dptrain train --help prints it). Rows of a section stand together. Only keys that this version
 * honours may be here. Private to src/cli/config*.c. */
#ifndef DPT_CLI_CONFIG_TABLE_H
#define DPT_CLI_CONFIG_TABLE_H

#include <stddef.h>

#include "cli/config.h"

/* "|auto|cpu": the texts of a list of choices, in the order of its enum. */
#define DPT_CONFIG_CHOICE_TEXT(name, text) "|" text
#define DPT_CONFIG_CHOICES(LIST) LIST(DPT_CONFIG_CHOICE_TEXT)

#define DPT_CONFIG_LOG_LEVEL_LIST(X) \
    X(DPT_LOG_DEBUG, "debug")        \
    X(DPT_LOG_INFO, "info")          \
    X(DPT_LOG_WARNING, "warning")    \
    X(DPT_LOG_ERROR, "error")
_Static_assert(DPT_LOG_DEBUG == 0 && DPT_LOG_INFO == 1 && DPT_LOG_WARNING == 2 && DPT_LOG_ERROR == 3,
               "the texts of log.level stand in the order of dpt_log_level");

/* X(member, default, range, condition, help)
 * default: as in an override; NULL: not set.
 * range: an interval for numbers and each number of a list, choices for an enum, NULL for others.
 * condition: "key=value", "key=value,value", "key!=value" or "model.name:setting" (the model follows it), without which
 * the key would do nothing and is refused; "key=": not set; "key!=": set; NULL: none. Settings of models start as the
 * zoo has them. */
// clang-format off
#define DPT_CONFIG_TABLE(X) \
    X(model.name, "cnn", NULL, "model.file=", "model of the zoo") \
    X(model.file, NULL, NULL, NULL, "a list of layers (docs/layers.md) instead of a model of the zoo") \
    X(model.hidden, NULL, "[1, 1048576]", "model.name:hidden", "widths of the hidden layers") \
    X(model.activation, "relu", DPT_CONFIG_CHOICES(DPT_CONFIG_ACTIVATION_LIST), "model.name:activation", \
      "between layers") \
    X(model.dropout, NULL, "[0, 1)", "model.name:dropout", "share of activations dropped in training") \
    X(model.batch_norm, "none", DPT_CONFIG_CHOICES(DPT_CONFIG_BATCH_NORM_LIST), "model.name:batch_norm", \
      "batch norm before each activation: statistics of each rank (local) or of all ranks (sync)") \
    X(model.norm, "batch", DPT_CONFIG_CHOICES(DPT_CONFIG_NORM_LIST), "model.name:norm", \
      "group and layer: instead of batch norm, statistics of each sample: of 8 groups of its channels (4, 2 or 1 where 8 " \
      "do not divide them), or of all") \
    X(model.width, NULL, "[1, 65536]", "model.name:width", "channels or units of the first stage") \
    X(model.depth, NULL, "[1, 1024]", "model.name:depth", "number of stages or blocks") \
    X(model.modes, NULL, "[1, 65536]", "model.name:modes", "frequencies that a spectral convolution keeps, a dimension") \
    X(model.sigma, NULL, "(0, inf)", "model.name:sigma", "standard deviation of the fixed frequencies") \
    X(model.stem, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_STEM_LIST), "model.name:stem", \
      "how a residual net begins: 3x3 convolution (small), 7x7 of stride 2 and max-pool (large); auto: small up to 64 x 64") \
    X(data.files, NULL, NULL, NULL, "HDF5 files, manifests of them or glob patterns, the matches of one " \
      "pattern sorted bytewise; not set: Fashion-MNIST, imported at first use") \
    X(data.index, "auto", NULL, NULL, "folder that keeps what was found out about the files, used again while they are as " \
      "they were; auto: dptrain in $XDG_CACHE_HOME or ~/.cache; none: nothing is kept") \
    X(data.train.x, "/train/x", NULL, "data.inputs=", "dataset of the training inputs, samples along its first axis") \
    X(data.train.y, "/train/y", NULL, "data.targets=", "dataset of the training targets") \
    X(data.train.offsets, NULL, NULL, "data.inputs=", "where samples have different lengths: dataset of the places in data.train.x where each of them begins, and last the total; then they are padded to one length") \
    X(data.train.include, NULL, NULL, NULL, "text file of the samples to train on, one number or range (100-199) a " \
      "line, from 0 on over data.files in their order, without those that are data.test.files; not set: all that are not " \
      "for testing") \
    X(data.train.exclude, NULL, NULL, NULL, "text file of samples that are not trained on") \
    X(data.test.x, "/test/x", NULL, "data.inputs=", "dataset of the test inputs; not set beside data.test.fraction, " \
      "count or files: as data.train.x") \
    X(data.test.y, "/test/y", NULL, "data.targets=", "dataset of the test targets; not set beside those: as data.train.y") \
    X(data.test.offsets, NULL, NULL, "data.train.offsets!=", "the same of the test inputs; not set beside data.test.fraction, count or files: as data.train.offsets") \
    X(data.test.files, NULL, NULL, "data.files!=", "files or patterns that hold the test samples; those of them that are " \
      "among data.files too are not trained on") \
    X(data.test.fraction, NULL, "(0, 1)", NULL, "so much of the samples is for testing and not trained on, spread evenly " \
      "over the files and drawn at random") \
    X(data.test.count, NULL, "[1, inf)", NULL, "so many samples are, instead of a fraction") \
    X(data.test.include, NULL, NULL, NULL, "text file of the samples to test on, from 0 on over data.test.files, else data.files") \
    X(data.test.exclude, NULL, NULL, NULL, "text file of samples that are not tested on") \
    X(data.split_seed, NULL, "[0, inf)", NULL, "of the draw of data.test.fraction or count; not set: as seed") \
    X(data.length, NULL, "[1, 2147483647]", "data.train.offsets!=", "length that samples are padded to; not set: that of the longest training sample") \
    X(data.cut, "false", NULL, "data.train.offsets!=", "longer samples lose their ends; otherwise they are an error") \
    X(data.pad, NULL, "(-inf, inf)", "data.train.offsets!=", "what stands behind the end of a sample, after all transforms; not set: 0") \
    X(data.inputs, NULL, NULL, NULL, "several inputs, or one of another name or type, each an entry (below); not set: x alone, as data.train.x says") \
    X(data.targets, NULL, NULL, NULL, "several targets, each with a loss of its own; not set: y alone, as data.train.y says") \
    X(data.mean, NULL, "(-inf, inf)|auto|auto_all", "data.inputs=", "subtracted from the scaled inputs, after data.clip and data.log: one value, or one a channel; auto: the mean of each channel over the training part, auto_all: of all values") \
    X(data.std, NULL, "(0, inf)|auto|auto_all", "data.inputs=", "those less the mean are divided by it: one value, or one a channel, or found like the mean") \
    X(data.scale, NULL, "(0, inf)", "data.inputs=", "inputs are multiplied by it; not set: 1/255 for 8-bit integers, 1 for others") \
    X(data.clip, NULL, "(-inf, inf)", "data.inputs=", "least and largest scaled input: what lies beyond is set to them") \
    X(data.log, NULL, "(-inf, inf)", "data.inputs=", "the natural logarithm of the scaled and clipped inputs plus this offset is " \
      "taken, before mean and std; not set: none") \
    X(data.one_hot, NULL, "[2, 1048576]", "data.inputs=", "inputs are integers from 0 to this less 1, and become as many numbers " \
      "along a new last axis: 1 at the integer, 0 elsewhere") \
    X(data.classes, "10", "[2, 1048576]", "loss.name=cross_entropy", "labels are 0 to classes-1") \
    X(data.order, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_ORDER_LIST), NULL, \
      "how an epoch is shuffled: exact, any sample from anywhere; lanes, each chunk read once and few mixed at a time; " \
      "weighted and balanced, samples drawn with repetition; buckets, batches of like length; auto: lanes where the " \
      "inputs are chunked, exact else") \
    X(data.window, "16", "[1, 65536]", "data.order=auto,lanes", \
      "order lanes: blocks (chunks, together 64 KiB at least; 1 MiB of samples without chunks) that each of up to 64 lanes " \
      "mixes at a time") \
    X(data.weights, NULL, NULL, "data.order=weighted", \
      "order weighted: dataset of a number for each training sample, at least 0: how often it is drawn, beside the others") \
    X(data.lengths, NULL, NULL, "data.order=buckets", \
      "order buckets: dataset of an integer for each training sample; not set: how long its sequence is") \
    X(data.bucket_batches, "50", "[1, 65536]", "data.order=buckets", \
      "order buckets: batches of a shuffled epoch that are sorted by length together; more of them are more alike in " \
      "length, and less mixed") \
    X(data.threads, "1", "[1, 64]", NULL, "threads of a rank that read ahead") \
    X(data.memory, NULL, "(0, inf)", NULL, "MiB that a rank may take for reading: batches read ahead, decoded chunks; not " \
      "set: half of what the host, or a limit on this job, has left, shared by the host's ranks") \
    X(data.read_ahead, NULL, "(0, inf)", NULL, "MiB of batches read ahead, within data.memory; not set: 16 MiB, from 4 " \
      "to 32 batches") \
    X(data.cache, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_CACHE_LIST), NULL, \
      "where decoded chunks stay for the whole run, as many as data.memory holds: node, one copy for all ranks of a host; " \
      "rank, one for each; off, nowhere; auto: node, or rank where ranks cannot share memory") \
    X(batch, "128", "[1, 1073741824]", NULL, "samples of a step, over all ranks") \
    X(epochs, NULL, "[1, inf)", NULL, "passes over the training samples; not together with steps") \
    X(steps, NULL, "[1, inf)", NULL, "steps of training; not together with epochs") \
    X(epoch.steps, NULL, "[1, inf)", NULL, \
      "steps of an epoch, as epochs, eval_every and schedules count them; not set: a pass over the samples") \
    X(accumulate, "1", "[1, 65536]", NULL, "micro-batches that make up the batch of a step") \
    X(eval_batch, NULL, "[1, 1073741824]", NULL, "samples of an evaluation step, over all ranks; not set: as batch") \
    X(eval_every, "1", "[0, inf)", NULL, "epochs between evaluations; 0: only at the end") \
    X(optimizer.name, "sgd", DPT_CONFIG_CHOICES(DPT_CONFIG_OPTIMIZER_LIST), NULL, "update rule") \
    X(optimizer.lr, "0.05", "[0, inf)", NULL, "learning rate after warm-up") \
    X(optimizer.momentum, "0.9", "[0, 1)", "optimizer.name=sgd,lars", "share of the last update that is kept") \
    X(optimizer.nesterov, "false", NULL, "optimizer.name=sgd", "look ahead along the momentum (Nesterov)") \
    X(optimizer.beta1, "0.9", "[0, 1)", "optimizer.name=adamw,adam,lamb", "decay of the mean of gradients") \
    X(optimizer.beta2, "0.999", "[0, 1)", "optimizer.name=adamw,adam,lamb", "decay of the mean of squared gradients") \
    X(optimizer.eps, "1e-08", "(0, inf)", "optimizer.name=adamw,adam,lamb", "added to the divisor") \
    X(optimizer.trust, "0.001", "(0, inf)", "optimizer.name=lars", \
      "steps are scaled by it times the norm of a parameter over that of its gradient") \
    X(optimizer.weight_decay, "0", "[0, inf)", NULL, "sgd, adam and lars add it times the parameter to the gradient, lamb to the " \
      "step; adamw shrinks the parameter by it times the learning rate") \
    X(optimizer.clip_norm, NULL, "(0, inf)", NULL, "largest norm of all gradients together; not set: no limit") \
    X(optimizer.zero, "0", "[0, 1]", NULL, \
      "1: each rank keeps the optimiser's moments of its share of the parameters only") \
    X(optimizer.by_bucket, "false", NULL, NULL, \
      "update parameters as their gradients arrive; one that is not finite then skips its own bucket only") \
    X(optimizer.no_decay, "[*.bias, bn*, *.bn*, *norm*, *.downsample.1.*]", NULL, NULL, "patterns of parameter names without weight decay") \
    X(optimizer.frozen, NULL, NULL, NULL, "patterns of parameter names that are not trained") \
    X(optimizer.groups, NULL, NULL, NULL, \
      "settings of the parameters whose names match a pattern, as \"fc1.* lr=0.1 no_decay\": lr (times optimizer.lr), " \
      "no_decay, decay, frozen, trained; later ones win, and win over no_decay and frozen") \
    X(average.decay, NULL, "(0, 1)", NULL, \
      "share of a moving average of the parameters that stays in a step; evaluation and params.h5 take the average; " \
      "not set: none") \
    X(schedule.name, "cosine", DPT_CONFIG_CHOICES(DPT_CONFIG_SCHEDULE_LIST), NULL, "learning rate after warm-up") \
    X(schedule.warmup_steps, "0", "[0, inf)", NULL, "steps in which the learning rate grows linearly from 0") \
    X(schedule.warmup_epochs, NULL, "(0, inf)", NULL, "the same in epochs, in place of steps") \
    X(schedule.min_lr, "0", "[0, inf)", "schedule.name=cosine,linear,polynomial,plateau", \
      "learning rate at the end; plateau: the least") \
    X(schedule.unit, "epochs", DPT_CONFIG_CHOICES(DPT_CONFIG_UNIT_LIST), "schedule.name=step,multistep", \
      "of schedule.every and schedule.milestones") \
    X(schedule.every, "30", "[1, inf)", "schedule.name=step", "units between reductions") \
    X(schedule.milestones, NULL, "[1, inf)", "schedule.name=multistep", "units after which it is reduced") \
    X(schedule.gamma, "0.1", "(0, inf)", "schedule.name=step,multistep,plateau", "factor of a reduction") \
    X(schedule.power, "1", "(0, inf)", "schedule.name=polynomial", "of the share that is left") \
    X(schedule.div, "25", "[1, inf)", "schedule.name=one_cycle", "the first learning rate is optimizer.lr over it") \
    X(schedule.final_div, "10000", "[1, inf)", "schedule.name=one_cycle", "the last one is the first over it") \
    X(schedule.rise, "0.3", "(0, 1)", "schedule.name=one_cycle", "share of the steps until the largest") \
    X(schedule.metric, "loss", NULL, "schedule.name=plateau", "loss or one of metrics, of the test samples") \
    X(schedule.patience, "10", "[0, inf)", "schedule.name=plateau", \
      "evaluations without an improvement that are borne before a reduction") \
    X(schedule.threshold, "0.0001", "[0, 1)", "schedule.name=plateau", "share of the best that is no improvement") \
    X(loss.name, "cross_entropy", DPT_CONFIG_CHOICES(DPT_CONFIG_LOSS_LIST), NULL, \
      "what training makes small; bce and dice take the model's output as logits of values from 0 to 1") \
    X(loss.smoothing, "0", "[0, 1)", "loss.name=cross_entropy", "share of a label that is spread over all classes") \
    X(loss.class_weights, NULL, "[0, inf)", "loss.name=cross_entropy", "a weight a class; not set: 1 each") \
    X(loss.ignore, NULL, "[-9223372036854775808, 9223372036854775807]", "loss.name=cross_entropy", \
      "a label that counts for nothing") \
    X(loss.delta, "1", "(0, inf)", "loss.name=huber", "differences above it count linearly") \
    X(augment.flip, "none", DPT_CONFIG_CHOICES(DPT_CONFIG_FLIP_LIST), NULL, \
      "turn every second training image over, at random: left to right, top to bottom, or each of both") \
    X(augment.crop, NULL, "[1, 65536]", NULL, \
      "add so many pixels on each side of a training image and cut a window of its size at random; not set: off") \
    X(augment.padding, "zeros", DPT_CONFIG_CHOICES(DPT_CONFIG_PADDING_LIST), "augment.crop!=", \
      "what is added: stored zeros, or the image mirrored at its edges") \
    X(augment.cutout, NULL, "[1, 65536]", NULL, \
      "side in pixels of a square that is set to 0, after normalisation, at a random place; not set: off") \
    X(augment.brightness, "0", "[0, 1]", NULL, "s: training images are multiplied by a factor between 1-s and 1+s") \
    X(augment.contrast, "0", "[0, 1]", NULL, "s: so is their distance from their mean grey value") \
    X(augment.saturation, "0", "[0, 1]", NULL, "s: so is the distance of colours from grey; three channels only") \
    X(mixup.alpha, NULL, "(0, 1000]", NULL, \
      "mix each training sample and its target with another one of the batch, with shares from a Beta(alpha, alpha) " \
      "distribution; not set: off") \
    X(metrics, NULL, NULL, NULL, \
      "measured in evaluation: accuracy, top5, confusion of classes; mae, rmse, r2 of numbers; " \
      "not set: accuracy, and top5 with more than five classes; mae, rmse, r2") \
    X(early_stop.metric, NULL, NULL, NULL, \
      "loss or one of metrics, of the test samples: training ends when it gets no better, and params.h5 holds the " \
      "parameters of the best evaluation; not set: off") \
    X(early_stop.patience, "5", "[1, inf)", "early_stop.metric!=", "evaluations without an improvement until the end") \
    X(early_stop.min_delta, "0", "[0, inf)", "early_stop.metric!=", "less of a difference is no improvement") \
    X(seed, "0", "[0, inf)", NULL, "of all random numbers and of the sample order") \
    X(device, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_DEVICE_LIST), NULL, "auto: cuda where it works, else cpu") \
    X(cuda.graph, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_GRAPH_LIST), "device!=cpu", \
      "run a step as CUDA graphs after its first runs: whole, one with the exchange of gradients inside; segments, " \
      "several with the exchange between them; auto, what is faster here; off, every operation is queued by itself") \
    X(cuda.sync, "off", DPT_CONFIG_CHOICES(DPT_CONFIG_CUDA_SYNC_LIST), "device!=cpu", \
      "op: wait after every operation, so that one that fails is named (slow; no graphs)") \
    X(cuda.memory, NULL, "(0, inf)", "device!=cpu", \
      "most device memory of a rank: up to 1 a share of the device's, above that bytes; not set: no limit") \
    X(deterministic, "off", DPT_CONFIG_CHOICES(DPT_CONFIG_SWITCH_LIST), "device!=cpu", \
      "choose the algorithms of library calls by rule instead of by timing, so that runs repeat bit by bit") \
    X(precision, "fp32", DPT_CONFIG_CHOICES(DPT_CONFIG_PRECISION_LIST), NULL, \
      "of the computation; parameters, their gradients, statistics and losses are fp32 in all") \
    X(recompute, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_RECOMPUTE_LIST), NULL, \
      "outputs of batch norm are made again in the backward pass instead of kept: less memory, a little more time; " \
      "auto: norm where a rank's activations take more than 1 GiB") \
    X(threads, NULL, "[1, 4096]", NULL, "threads of a rank that compute; not set: its share of the host's cores") \
    X(bind, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_BIND_LIST), NULL, \
      "keep a rank's threads and memory near its GPU; off, and where the launcher has bound it: as it is") \
    X(run.dir, NULL, NULL, NULL, "folder of the results; not set: runs/<model>-<Slurm job id or UTC time>") \
    X(run.overwrite, "false", NULL, NULL, "take a run.dir that is not empty and replace its files") \
    X(comm.library, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_COMM_LIBRARY_LIST), NULL, \
      "sums gradients; auto: nccl on GPUs, mpi else; mpi on GPUs goes through host memory") \
    X(comm.dtype, "fp32", DPT_CONFIG_CHOICES(DPT_CONFIG_COMM_DTYPE_LIST), NULL, \
      "in which fp32 gradients travel and are added; bf16 halves the bytes and rounds the sums") \
    X(comm.bucket_mb, NULL, "(0, 65536]", NULL, \
      "MiB of gradients summed by one exchange; not set: from the measured latency and bandwidth") \
    X(comm.thread, "auto", DPT_CONFIG_CHOICES(DPT_CONFIG_COMM_THREAD_LIST), NULL, \
      "exchange gradients from a thread of its own; auto: where a rank has two cores or more") \
    X(comm.ctas, NULL, "[1, 64]", "device!=cpu", \
      "most thread blocks that a collective of NCCL takes from the computation; not set: chosen") \
    X(comm.interface, NULL, NULL, NULL, "network interface of NCCL's and the watchdog's sockets; not set: chosen") \
    X(comm.start_s, "120", "(0, inf)", NULL, "seconds until all ranks must have joined NCCL") \
    X(comm.check, "0", "[0, inf)", NULL, "steps between comparisons of the sums with MPI's; 0: none") \
    X(comm.emulate, NULL, NULL, NULL, \
      "take the time of a fabric in place of the exchange, to measure how much of it hides (results are then wrong): " \
      "8xnvlink, 4-nodes, 128-nodes, or latency in us and bandwidth in GB/s as 30us,45GB/s") \
    X(watchdog.enabled, "true", NULL, NULL, "look out for lost, stopped and stuck ranks") \
    X(watchdog.silence_s, "20", "(0, inf)", NULL, "a rank that has said nothing for so long is stopped or cut off") \
    X(watchdog.stuck_s, "20", "(0, inf)", NULL, \
      "ranks that wait in a collective for one that makes no progress in its step end after so long") \
    X(watchdog.limit_s, "600", "(0, inf)", NULL, "the same while it reads, saves or evaluates") \
    X(profile, "0", "[0, 1000000]", NULL, \
      "steps that are timed operation by operation, after the first 10: run.dir gets trace.<rank>.json and profile.txt") \
    X(log.every, "50", "[1, inf)", NULL, "steps between lines of the metrics file") \
    X(log.level, "info", DPT_CONFIG_CHOICES(DPT_CONFIG_LOG_LEVEL_LIST), NULL, "least message that is shown")

/* X(condition, member, default): defaults that depend on another key ("key=": not set). */
#define DPT_CONFIG_CONDITIONAL_DEFAULTS(X) \
    X("steps=", epochs, "5") \
    X("optimizer.name=adamw,adam,lamb", optimizer.lr, "0.001") \
    X("data.files=", data.mean, "[0.286]") \
    X("data.files=", data.std, "[0.353]")
// clang-format on

#define DPT_CONFIG_ROW_COUNT(...) +1
enum {
    DPT_CONFIG_KEY_COUNT = 0 DPT_CONFIG_TABLE(DPT_CONFIG_ROW_COUNT),
    DPT_CONFIG_CONDITIONAL_COUNT = 0 DPT_CONFIG_CONDITIONAL_DEFAULTS(DPT_CONFIG_ROW_COUNT)
};
#undef DPT_CONFIG_ROW_COUNT

typedef enum dpt_config_kind {
    DPT_CONFIG_INT,
    DPT_CONFIG_FLOAT,
    DPT_CONFIG_BOOL,
    DPT_CONFIG_TEXT,
    DPT_CONFIG_CHOICE,
    DPT_CONFIG_MODEL,
    DPT_CONFIG_INTS,
    DPT_CONFIG_FLOATS,
    DPT_CONFIG_TEXTS
} dpt_config_kind;

typedef struct dpt_config_key {
    const char *name, *initial, *range, *condition, *help;
    dpt_config_kind kind;
    size_t offset;
} dpt_config_key;

typedef struct dpt_config_conditional {
    const char *condition, *name, *initial;
} dpt_config_conditional;

extern const dpt_config_key dpt_config_keys[DPT_CONFIG_KEY_COUNT];
extern const dpt_config_conditional dpt_config_conditionals[DPT_CONFIG_CONDITIONAL_COUNT];

/* A value before it has a type: one item, or those of a list. */
typedef struct dpt_config_value {
    char **item;
    int64_t count, capacity;
    bool is_list;
} dpt_config_value;

typedef enum dpt_config_layer {
    DPT_CONFIG_FROM_DEFAULT,
    DPT_CONFIG_FROM_FILE,
    DPT_CONFIG_FROM_OVERRIDE
} dpt_config_layer;

/* Where each key's value came from; the line in the file. */
typedef struct dpt_config_origin {
    dpt_config_layer layer[DPT_CONFIG_KEY_COUNT];
    size_t line[DPT_CONFIG_KEY_COUNT];
} dpt_config_origin;

/* config_value.c: texts to typed values. Messages begin with the key; the caller puts the place in front. */
dpt_status dpt_config_value_add(dpt_config_value *value, const char *item, size_t bytes);
/* "a", and for a list "[a, b]" or "a,b". */
dpt_status dpt_config_value_split(dpt_config_value *value, const dpt_config_key *key, const char *text);
void dpt_config_value_free(dpt_config_value *value);
/* object: the config, or an entry of data.inputs or data.targets with a key of dpt_config_field_keys. */
dpt_status dpt_config_set(void *object, const dpt_config_key *key, const dpt_config_value *value);
void dpt_config_unset(void *object, const dpt_config_key *key);
bool dpt_config_is_set(const void *object, const dpt_config_key *key);
bool dpt_config_is_list(const dpt_config_key *key);
/* The n-th choice of "|a|b", its length in bytes; NULL past the last. */
const char *dpt_config_choice(const char *choices, int n, size_t *bytes);

/* config.c. The key of that name, also "model" for "model.name"; NULL: none. */
const dpt_config_key *dpt_config_find(const char *name);
bool dpt_config_is_section(const char *name);
/* "unknown key NAME", with the nearest one. */
dpt_status dpt_config_unknown(const char *name);
bool dpt_config_holds(const dpt_config *config, const char *condition);
/* How much of a condition is shown: "key!=" as its key. */
int dpt_config_condition_bytes(const char *condition);

/* config_write.c: the fewest digits that read back exactly; the words of numbers that are to be found. */
void dpt_config_write_float(FILE *out, double x);
void dpt_config_write_row(FILE *out, const dpt_config_key *key);

/* config_fields.c: what an entry of data.inputs and data.targets may say; the condition is "inputs" or "targets" for a
 * word of one of them. */
enum { DPT_CONFIG_FIELD_KEY_COUNT = 19 };
extern const dpt_config_key dpt_config_field_keys[DPT_CONFIG_FIELD_KEY_COUNT];

/* config_yaml.c: applies the file's keys. */
dpt_status dpt_config_read_yaml(dpt_config *config, dpt_config_origin *origin, const char *file, const char *text,
                                size_t bytes);

static inline void *dpt_config_member(const void *object, const dpt_config_key *key) {
    return (char *)(uintptr_t)object + key->offset;
}

#endif
