/* digits.h: a generated set of handwriting-like digits in Fashion-MNIST's shapes, for machines without that package:
 * /train/x u8 [20000,1,28,28], /train/y, /test/x [4000,1,28,28], /test/y. The same bytes on every machine. */
#ifndef DPT_DATA_DIGITS_H
#define DPT_DATA_DIGITS_H

#include <stdint.h>

#include "base/error.h"

enum { DPT_DIGITS_TRAIN = 20000, DPT_DIGITS_TEST = 4000, DPT_DIGITS_SIDE = 28 };

/* Writes the set, as the imports do (import.h): whole or not at all, once. Local. DPT_ERR_IO: not written. */
dpt_status dpt_digits_write(const char *target);

/* Draws image number `index` of a split ("train", "test") into pixel [28*28]; returns its digit. Local. */
uint8_t dpt_digits_draw(const char *split, uint64_t index, uint8_t *pixel);

#endif
