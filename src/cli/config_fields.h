/* config_fields.h: the inputs and targets of a job, from data.inputs and data.targets, or from the short form for one
 * input x and one target y.
 *
 *   data:
 *     inputs:
 *       - {name: u, train: /train/u, test: /test/u, scale: 0.1, log: 1e-6, mean: auto, std: auto}
 *       - {name: kind, type: i64}
 *     targets: [{name: flux, loss: mse, layer: head}, {name: class, loss: cross_entropy, classes: 3, layer: top}]
 *
 * A config keeps an entry as one text, which is also what a command line gives: "u train=/train/u scale=0.1 log=1e-6",
 * with ":" between the numbers of a list and single quotes around what has blanks. All functions are local. */
#ifndef DPT_CLI_CONFIG_FIELDS_H
#define DPT_CLI_CONFIG_FIELDS_H

#include "cli/config.h"

enum { DPT_CONFIG_MOST_FIELDS = 32, DPT_CONFIG_LONGEST_NAME = 48 };

/* X(name, text) */
#define DPT_CONFIG_TYPE_LIST(X)   \
    X(DPT_CONFIG_TYPE_F32, "f32") \
    X(DPT_CONFIG_TYPE_U8, "u8")   \
    X(DPT_CONFIG_TYPE_I32, "i32") \
    X(DPT_CONFIG_TYPE_I64, "i64")
#define DPT_CONFIG_CHOICE_ENUM(name, text) name,
typedef enum dpt_config_type { DPT_CONFIG_TYPE_LIST(DPT_CONFIG_CHOICE_ENUM) } dpt_config_type;
#undef DPT_CONFIG_CHOICE_ENUM

typedef struct dpt_config_field {
    char *name;
    char *train, *test; /* datasets of the two parts */
    dpt_config_type type;
    dpt_dtype dtype; /* by type, of a target by its loss */
    double scale;    /* 0: by the stored type */
    dpt_config_floats clip, log, mean, std;
    int64_t one_hot;                    /* 0: off */
    char *train_offsets, *test_offsets; /* NULL: all samples have one shape */
    int64_t length;                     /* steps; 0: of the longest sample */
    bool cut, lengths;
    double pad;
    /* of a target: */
    dpt_config_loss loss;
    double weight;   /* of its loss in the sum */
    int64_t classes; /* 0: numbers */
    char *layer;     /* whose values are its predictions; NULL: the last */
} dpt_config_field;

typedef struct dpt_config_fields {
    dpt_config_field *item; /* the inputs, then the targets */
    int inputs, count;
} dpt_config_fields;

/* DPT_ERR_CONFIG: an entry cannot be read, a name is used twice, or what an entry says does not go together; the
 * message begins with the entry. */
dpt_status dpt_config_fields_read(const dpt_config *config, dpt_config_fields *fields);
void dpt_config_fields_free(dpt_config_fields *fields);

/* Whether a mean or std, of `count` values, is to be found from the data. */
bool dpt_config_is_auto(const dpt_config_floats *values);
/* Replaces what was to be found of a field by count numbers, in the field and in the config. */
dpt_status dpt_config_fields_keep(dpt_config *config, dpt_config_fields *fields, int field, int64_t count,
                                  const double *mean, const double *std);

/* The table of what an entry may say, for docs/config.md. */
void dpt_config_fields_reference(FILE *out);

#endif
