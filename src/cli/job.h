/* job.h: what a config describes, made real: data, model, trainer. train, eval and explain use it. */
#ifndef DPT_CLI_JOB_H
#define DPT_CLI_JOB_H

#include "cli/cli.h"
#include "cli/config_fields.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "data/loader_memory.h"
#include "data/read_cost.h"
#include "dptrain/dptrain.h"
#include "models/layer_list.h"
#include "models/zoo.h"
#include "train/measures.h"
#include "train/trainer.h"

enum { DPT_JOB_MOST_TARGETS = DPT_CONFIG_MOST_FIELDS, DPT_JOB_MOST_MEASURES = DPT_MEASURES_ALL };

/* What is measured of a target. */
typedef struct dpt_job_measured {
    dpt_measures *measures; /* NULL: nothing */
    float *prediction;      /* a rank's share of a batch */
    char output[DPT_CONFIG_LONGEST_NAME + 16];
} dpt_job_measured;

typedef struct dpt_job_measure {
    char name[DPT_CONFIG_LONGEST_NAME + 16]; /* with several targets "<target>_<metric>" */
    int target, number;
} dpt_job_measure;

/* What reading takes of memory; [0]: of the test part, [1]: of the training part. */
typedef struct dpt_job_memory {
    uint64_t budget;         /* bytes of a rank, for all of it */
    int slots[2];            /* batches read ahead; 0: nothing was planned */
    uint64_t cache_bytes[2]; /* decoded chunks of a rank's own */
    dpt_node_cache *kept[2]; /* decoded chunks that stay; NULL: none; one and the same where both parts are of the
                                same files */
    bool together;           /* one copy for the ranks of a host */
    char text[200];          /* for the header */
} dpt_job_memory;

typedef struct dpt_job {
    dpt_cli *cli;
    dpt_config *config; /* borrowed; what it leaves to be found from the data is put in */
    dpt_context *ctx;
    dpt_dataset *train, *test;
    dpt_selection *train_rows, *test_rows;   /* the samples of each that count; NULL: all */
    dpt_config_fields about;                 /* the inputs, then the targets */
    dpt_field field[DPT_CONFIG_MOST_FIELDS]; /* of both parts, as a loader delivers them */
    int inputs, fields;
    dpt_graph *graph;
    dpt_trainer *trainer;
    dpt_layers *layers;      /* of a list; NULL: of the zoo */
    dpt_model_target target; /* what the data's targets must be */
    char model_name[64];     /* for the header */
    char data_name[256];     /* for the header */
    int64_t share;           /* rows of a rank in a global batch at most */
    uint64_t window;         /* of order `lanes` in training; 0: `exact` */
    uint64_t mixed_bytes;    /* of the blocks that this rank mixes at a time, as stored */
    uint64_t blocks;         /* of order `lanes` */
    int lanes;
    dpt_read_cost cost;   /* of taking training samples from anywhere */
    char order_name[200]; /* for the header */
    dpt_dataset *numbers; /* weights or lengths, until they are read; or NULL */
    dpt_draws *draws;     /* of training, once dpt_job_draw has made them; NULL: another order */
    dpt_job_memory memory;
    int64_t steps;                                   /* of the whole training */
    dpt_job_measured measured[DPT_JOB_MOST_TARGETS]; /* with the trainer */
    dpt_job_measure measure[DPT_JOB_MOST_MEASURES];  /* of all targets */
    int measures;
    float *lambda; /* a rank's share of ones: evaluation mixes nothing; NULL without mixup */
    char partner[DPT_CONFIG_LONGEST_NAME + 16]; /* input of mixup */
} dpt_job;

/* Opens data and model; the trainer too unless `plan` (explain looks only). A mean or std that config leaves to be
 * found is found and put into it, but in a plan. Collective. Destroy it on failure too. */
dpt_status dpt_job_open(dpt_cli *cli, dpt_config *config, bool plan, dpt_job *job);
void dpt_job_close(dpt_job *job);

/* job_data.c: opens both parts and says what their fields are, once the model is chosen; finds means and stds unless
 * `plan`. Collective. */
dpt_status dpt_job_data_open(dpt_job *job, bool plan);
void dpt_job_data_close(dpt_job *job);
/* job_split.c: takes the files that hold the test samples out of those of training, where both parts read the same
 * datasets of them; out of a manifest too, in whose place the files stand then that are left of it. Local, on rank 0.
 * DPT_ERR_DATA: none is left. Errors of dpt_file_list_make. */
dpt_status dpt_job_split_files(const dpt_job *job, dpt_config_texts *files, const dpt_config_texts *test_files);
/* Which samples of the two open datasets are in the parts: by split and lists. Collective. DPT_ERR_DATA: a list has an
 * error, names what is not there or leaves nothing; a split cannot be made. DPT_ERR_IO: a list cannot be read. */
dpt_status dpt_job_split(dpt_job *job);
/* Samples of the training or test part. Local. */
uint64_t dpt_job_rows(const dpt_job *job, bool training);
/* A loader over the training or test part, in the job's normalisation; threads as configured. Local. */
dpt_status dpt_job_loader(const dpt_job *job, bool training, dpt_loader **loader);
/* What such a loader takes of memory. Local. */
dpt_status dpt_job_loader_need(const dpt_job *job, bool training, dpt_loader_need *need);
/* The trainer's options as the config says. */
void dpt_job_trainer_options(const dpt_job *job, dpt_trainer_options *options);

/* Steps in so many epochs or other units; INT64_MAX where they are more. */
int64_t dpt_job_steps(int64_t units, int64_t per_unit);

/* job_model.c: notes what targets the model wants, before the data are opened; builds its graph, after. Local. */
void dpt_job_choose_model(dpt_job *job);
dpt_status dpt_job_model(dpt_job *job);
/* job_groups.c: gives the graph's parameters their groups. DPT_ERR_CONFIG: an entry that is wrong or matches nothing.
 */
dpt_status dpt_job_groups(dpt_job *job);

/* job_order.c: which order training takes, and so how many rows a rank can get of a batch, once the data are open.
 * Collective. */
dpt_status dpt_job_choose_order(dpt_job *job);
/* The options that say which samples come. Local. */
void dpt_job_order_options(const dpt_job *job, bool training, dpt_loader_options *options);
/* Adds to the order's name how often chunks are decoded, where so many bytes of them are kept, and warns where that is
 * often, or where few chunks are mixed. Local. */
void dpt_job_tell_reads(dpt_job *job, uint64_t kept);

/* job_memory.c: divides data.memory, before the first loader is made. training: there will be one of the training part.
 * Collective. DPT_ERR_CONFIG: too small, with the least that is needed. */
dpt_status dpt_job_plan_memory(dpt_job *job, bool training);
void dpt_job_memory_close(dpt_job *job);

/* job_draws.c: opens what an order wants to know of each sample, beside the training part. Collective. DPT_ERR_DATA:
 * not a number for each sample. */
dpt_status dpt_job_numbers_open(dpt_job *job, char *const *files, int count);
/* Before training, with all open: warns of classes without a sample; reads weights, labels or lengths and makes the
 * order of them. Collective. DPT_ERR_DATA: they are none, or balanced order lacks a class. DPT_ERR_CONFIG: the order
 * has nothing to go by. */
dpt_status dpt_job_draw(dpt_job *job);
/* Local. */
void dpt_job_draws_close(dpt_job *job);

/* Steps of an epoch: epoch.steps, or those of a pass over the samples. Local. */
int64_t dpt_job_epoch_steps(const dpt_job *job);

/* job_evaluate.c: opens what is measured, with the trainer. Local. */
dpt_status dpt_job_measures_open(dpt_job *job);
void dpt_job_measures_close(dpt_job *job);
/* job->measure[i] of the last evaluation. Local. */
double dpt_job_measure_value(const dpt_job *job, int i);
/* The confusion matrix of the first target that has one; NULL: none. Local. */
const int64_t *dpt_job_confusion(const dpt_job *job, int64_t *classes);
/* Evaluates the test part: every rank its share of each batch. Collective. */
dpt_status dpt_job_evaluate(dpt_job *job, dpt_evaluation *result);

#endif
