/* status.h: what every function that can fail returns.
 *
 *   dpt_status s = dpt_trainer_step(tr, in, 2, &metrics);
 *   if (s != DPT_OK) fprintf(stderr, "%s: %s\n", dpt_status_text(s), dpt_last_error());
 *
 * The library never exits, aborts or prints: the status says what kind of thing went wrong, dpt_last_error() says
 * which, with names and numbers. */
#ifndef DPTRAIN_STATUS_H
#define DPTRAIN_STATUS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define DPT_API __attribute__((visibility("default")))
#define DPT_PRINTF(text_at, args_at) __attribute__((format(printf, text_at, args_at)))
#else
#define DPT_API
#define DPT_PRINTF(text_at, args_at)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, value, text). Values are part of the ABI: append only. */
#define DPT_STATUS_LIST(X)                                  \
    X(DPT_OK, 0, "success")                                 \
    X(DPT_ERR_ARG, 1, "invalid argument")                   \
    X(DPT_ERR_CONFIG, 2, "invalid configuration or launch") \
    X(DPT_ERR_SHAPE, 3, "shapes do not fit")                \
    X(DPT_ERR_UNSUPPORTED, 4, "not supported")              \
    X(DPT_ERR_MEMORY, 5, "out of memory")                   \
    X(DPT_ERR_DATA, 6, "invalid data")                      \
    X(DPT_ERR_IO, 7, "input/output error")                  \
    X(DPT_ERR_PEER, 8, "a rank failed or left")             \
    X(DPT_ERR_DEVICE, 9, "device error")                    \
    X(DPT_ERR_DIVERGED, 10, "training diverged")            \
    X(DPT_ERR_INTERNAL, 11, "internal error")

typedef enum dpt_status {
#define DPT_STATUS_ENUM(name, value, text) name = value,
    DPT_STATUS_LIST(DPT_STATUS_ENUM)
#undef DPT_STATUS_ENUM
} dpt_status;

/* The status in words, never NULL. Local. */
DPT_API const char *dpt_status_text(dpt_status status);

/* What the last failed call on this thread had to say, with names and numbers; "" if nothing failed. Borrowed until
 * the next failing call of this thread. Local. */
DPT_API const char *dpt_last_error(void);

/* Returns the status of a failed call to the caller's caller. */
#define DPT_TRY(call)                                          \
    do {                                                       \
        dpt_status dpt_try_status_ = (call);                   \
        if (dpt_try_status_ != DPT_OK) return dpt_try_status_; \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
