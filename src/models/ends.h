/* ends.h: what all models share: their two ends. */
#ifndef DPT_MODELS_ENDS_H
#define DPT_MODELS_ENDS_H

#include "models/zoo.h"

/* DPT_ERR_CONFIG: options that fit no model: sample shape, classes, target type, dropout. Local. */
dpt_status dpt_model_check(const char *model, const dpt_model_options *o);
/* DPT_ERR_CONFIG: a side of a sample [channels, 1 to 3 sides] is no multiple of 2^o->depth; the message says how to
 * pad. Local. */
dpt_status dpt_model_check_halving(const char *model, const dpt_model_options *o);
/* Input "x" or as named, [B, sample shape]. Local. */
dpt_tensor *dpt_model_input_made(dpt_graph *g, const dpt_model_input_of *input);
/* That of a model with one, of f32. Local. */
dpt_tensor *dpt_model_input(dpt_graph *g, const dpt_model_options *o);
/* Target "y", loss and outputs for the last layer's value: [B, classes], or [B, classes, positions...] where every
 * position has a target of its own; the graph's status. DPT_ERR_CONFIG: the data has another number of targets. Local.
 */
dpt_status dpt_model_finish(dpt_graph *g, const dpt_model_options *o, dpt_tensor *value);
/* Whether o->batch_norm and o->norm ask for norms. Local. */
bool dpt_model_has_norm(const dpt_model_options *o);
/* The norm that they ask for, with parameters "<name>.weight" and "<name>.bias"; x where they ask for none. Local. */
dpt_tensor *dpt_model_normalise(const dpt_model_options *o, dpt_tensor *x, const char *name);
/* The same, named "bn<number>". Local. */
dpt_tensor *dpt_model_norm_layer(const dpt_model_options *o, dpt_tensor *x, int number);
/* mlp.c: the fully connected layers of o->hidden behind x [B, n], the last layer, and the end of the model. Local. */
dpt_status dpt_model_layers(const char *model, dpt_graph *g, const dpt_model_options *o, dpt_tensor *x);
/* x behind the activation. Local. */
dpt_tensor *dpt_model_activate(dpt_tensor *x, dpt_model_activation activation);

#endif
