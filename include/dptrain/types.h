/* types.h: element types, named arrays and log levels, shared by all headers. */
#ifndef DPTRAIN_TYPES_H
#define DPTRAIN_TYPES_H

#include <stdint.h>

#include "dptrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, value, text, bytes). Values are part of the ABI and of file formats: append only. */
#define DPT_DTYPE_LIST(X)     \
    X(DPT_F32, 0, "f32", 4)   \
    X(DPT_F64, 1, "f64", 8)   \
    X(DPT_U8, 2, "u8", 1)     \
    X(DPT_I32, 3, "i32", 4)   \
    X(DPT_I64, 4, "i64", 8)   \
    X(DPT_BF16, 5, "bf16", 2) \
    X(DPT_F16, 6, "f16", 2)

typedef enum dpt_dtype {
#define DPT_DTYPE_ENUM(name, value, text, bytes) name = value,
    DPT_DTYPE_LIST(DPT_DTYPE_ENUM)
#undef DPT_DTYPE_ENUM
} dpt_dtype;

enum { DPT_DTYPE_COUNT = 7, DPT_MAX_NDIM = 8 };

/* Bytes of one element; 0 for a value outside the list. Local. */
DPT_API size_t dpt_dtype_size(dpt_dtype dtype);
/* "f32", "u8", ...; "?" for a value outside the list. Local. */
DPT_API const char *dpt_dtype_text(dpt_dtype dtype);

/* What a graph of f32 is computed in. Parameters, their gradients and the optimiser are f32 in all. */
typedef enum dpt_precision {
    DPT_PRECISION_FP32 = 0,
    DPT_PRECISION_TF32 = 1, /* f32; products may round their operands to TF32 (11 bits), where the device can */
    DPT_PRECISION_BF16 = 2, /* products and what lies between them in bf16; statistics, sums and losses in f32 */
    DPT_PRECISION_FP16 = 3  /* the same in fp16; the loss is scaled by a factor that follows what fits */
} dpt_precision;

/* What is computed again in the backward pass, to the same bits, so that it need not be kept. */
typedef enum dpt_recompute {
    DPT_RECOMPUTE_AUTO = 0, /* as norm where a rank's activations take more than 1 GiB, else none */
    DPT_RECOMPUTE_NONE = 1,
    DPT_RECOMPUTE_NORM = 2 /* outputs of batch norm, with its ReLU and residual */
} dpt_recompute;
enum { DPT_PRECISION_COUNT = 4 };
/* "fp32", "tf32", "bf16", "fp16"; "?" for a value outside the list. Local. */
DPT_API const char *dpt_precision_text(dpt_precision precision);

/* Where an array lies. */
typedef enum dpt_place { DPT_HOST = 0, DPT_DEVICE = 1 } dpt_place;

/* Rows of one graph input, handed to a trainer or session: data is (rows, the input's other dimensions), C order.
 * Host arrays are copied before the call returns. dtype may differ from the input's: floats become floats of another
 * width, integers become floats; integers stay exact. 16-bit floats are their bits. stream is NULL for host arrays. */
typedef struct dpt_array {
    const char *name;
    const void *data;
    dpt_dtype dtype;
    dpt_place place;
    int64_t rows;
    void *stream;
} dpt_array;

typedef enum dpt_log_level {
    DPT_LOG_DEBUG = 0,
    DPT_LOG_INFO = 1,
    DPT_LOG_WARNING = 2,
    DPT_LOG_ERROR = 3
} dpt_log_level;

/* Receives one message without a newline. Called from any thread of the library. */
typedef void (*dpt_log_fn)(void *user, dpt_log_level level, const char *message);

/* Sends the library's messages of this process to fn; NULL (the default) drops them. Local. */
DPT_API void dpt_log_set(dpt_log_fn fn, void *user);

/* The library's version, "0.1.0". Local. */
DPT_API const char *dpt_version(void);

#ifdef __cplusplus
}
#endif
#endif
