/* layer_types.h: the types of layers that a list of layers may hold (layer_list.h): one table of names, options with
 * ranges, and builders, which also prints docs/layers.md. A new type is a row and, where no other does the same, a
 * builder. Private to src/models/layer*.c. */
#ifndef DPT_MODELS_LAYER_TYPES_H
#define DPT_MODELS_LAYER_TYPES_H

#include <stdbool.h>

#include "graph/graph.h"
#include "models/layer_list.h"

enum { DPT_LAYER_OPTIONS = 8, DPT_LAYER_SIZES = 8, DPT_LAYER_ANY = 1000 };

typedef enum dpt_option_kind {
    DPT_OPTION_NONE,  /* ends a type's options */
    DPT_OPTION_INT,   /* also the word "classes": the width that the data and the loss ask for */
    DPT_OPTION_SIZES, /* one integer for all dimensions, or a list with one for each */
    DPT_OPTION_NUMBER,
    DPT_OPTION_FLAG, /* true or false */
    DPT_OPTION_WORD  /* its value is the place in `words` */
} dpt_option_kind;

typedef struct dpt_layer_option {
    const char *name;
    dpt_option_kind kind;
    bool needed;
    double initial; /* where it is not needed and not given */
    double low, high;
    const char *words;  /* "a|b" */
    bool of_parameters; /* decides the shape of parameters: does nothing in a layer that shares another's */
} dpt_layer_option;

typedef struct dpt_layer_value {
    int count; /* 0: not given */
    double number[DPT_LAYER_SIZES];
} dpt_layer_value;

typedef struct dpt_layer_type dpt_layer_type;

/* What a builder gets. */
typedef struct dpt_layer_call {
    const dpt_layer_type *type;
    const char *file; /* of the list; the layer's line is its place in messages */
    int line;
    const char *name, *shared; /* shared: the layer whose parameters it uses; NULL: its own */
    dpt_tensor *const *from;
    int n_from;
    const dpt_layer_value *value; /* by option */
    int64_t classes;
    dpt_graph *graph;
} dpt_layer_call;

struct dpt_layer_type {
    const char *name, *help;
    dpt_tensor *(*build)(const dpt_layer_call *call);
    int least_from, most_from;
    bool shares; /* its parameters can be shared */
    dpt_layer_option option[DPT_LAYER_OPTIONS + 1];
};

extern const dpt_layer_type dpt_layer_types[];
extern const int dpt_layer_type_count;

/* NULL: no such type. */
const dpt_layer_type *dpt_layer_type_find(const char *name);
/* The number of a type's option of this name; -1: none. */
int dpt_layer_option_find(const dpt_layer_type *type, const char *name);

/* ---- a list, as read ---- */

typedef struct dpt_layer {
    const dpt_layer_type *type;
    char *name;
    int line;
    char **from; /* none: the layer before, the model's input for the first one */
    int64_t from_count, from_capacity;
    char *shared; /* NULL: its own parameters */
    dpt_layer_value value[DPT_LAYER_OPTIONS];
    int64_t *source; /* of from: the layer's index, or -1 - the input's; found by dpt_layers_join */
    int64_t lender;  /* of shared; -1: none */
} dpt_layer;

enum { DPT_LAYER_CLASSES = -1 /* the value of an INT: the word "classes" */ };

struct dpt_layers {
    char *file;       /* its name */
    char *text;       /* what was read; NULL: it came from memory */
    dpt_layer *layer; /* repeats written out */
    int64_t count, capacity;
    int64_t *order; /* in which they are built: each after those it takes from */
    int inputs;
    int64_t *output; /* layers that predict */
    int outputs;
};

/* layer_yaml.c: the layers of a file, each checked by itself. */
dpt_status dpt_layers_read_yaml(dpt_layers *layers, const char *text, size_t bytes);
/* layer_join.c: finds what each takes from and the order; refuses doubled and unknown names, circles, unused layers and
 * inputs. */
dpt_status dpt_layers_join(dpt_layers *layers, const dpt_layers_ends *ends);

#endif
