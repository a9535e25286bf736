/* layer_list.h: a model as a list of layers in YAML: docs/layers.md says how one is written.
 *
 *   dpt_layers *layers;
 *   DPT_TRY(dpt_layers_read("net.yaml", NULL, &layers));
 *   DPT_TRY(dpt_layers_build(layers, g, &options));
 *
 * Reading checks names, options and how layers hang together; building checks shapes. All functions are Local. */
#ifndef DPT_MODELS_LAYER_LIST_H
#define DPT_MODELS_LAYER_LIST_H

#include <stdio.h>

#include "models/zoo.h"

typedef struct dpt_layers dpt_layers;

/* What the model is fed with and asked for, by name. Borrowed while the list is read. */
typedef struct dpt_layers_ends {
    const char *const *input; /* what `from` may name besides layers */
    int inputs;
    const char *const *output; /* layers whose values are predictions; NULL: the last */
    int outputs;
} dpt_layers_ends;

/* ends: NULL: one input, and the last layer predicts. A sole input is also called "input", and the first layer takes
 * the first input where it says nothing. DPT_ERR_CONFIG: the file cannot be read, is no YAML, is over 1 MiB; a type, an
 * option or a name is unknown (the nearest is named), a name is used twice or is that of an input, an option is missing
 * or out of range, layers feed each other in a circle (which is named), the output of a layer goes nowhere, or no layer
 * takes an input. Messages begin with file:line. */
dpt_status dpt_layers_read(const char *path, const dpt_layers_ends *ends, dpt_layers **layers);
/* The same with the text in memory; file is its name in messages. */
dpt_status dpt_layers_parse(const char *file, const char *text, size_t bytes, const dpt_layers_ends *ends,
                            dpt_layers **layers);
/* The file as it was read. Borrowed. */
const char *dpt_layers_text(const dpt_layers *layers);
/* Adds the model to an empty graph, which borrows the list until it is destroyed. Of the options it takes those of data
 * and loss. DPT_ERR_SHAPE: what is joined does not fit; the message begins with the layer's file:line. */
dpt_status dpt_layers_build(const dpt_layers *layers, dpt_graph *g, const dpt_model_options *options);
/* The same for the inputs and outputs that the list was read with: `inputs` and `options` have one for each, of which
 * the options say target and loss. */
dpt_status dpt_layers_build_ends(const dpt_layers *layers, dpt_graph *g, const dpt_model_input_of *inputs,
                                 const dpt_model_options *options);
/* Takes NULL, nulls *layers. */
void dpt_layers_destroy(dpt_layers **layers);

/* docs/layers.md. */
void dpt_layers_reference(FILE *out);

#endif
