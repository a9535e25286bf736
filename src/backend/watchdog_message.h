/* watchdog_message.h: what watchdogs say to each other: frames of one size, little-endian, each with magic number,
 * version and the job's token, so that bytes from anyone else are told apart and never trusted. */
#ifndef DPT_BACKEND_WATCHDOG_MESSAGE_H
#define DPT_BACKEND_WATCHDOG_MESSAGE_H

#include "backend/watchdog_judge.h"

enum { DPT_WATCH_FRAME = 2048, DPT_WATCH_TOKEN = 16, DPT_WATCH_VERSION = 1 };

typedef enum dpt_watch_kind {
    DPT_WATCH_HELLO,   /* a rank to rank 0, first of all */
    DPT_WATCH_WELCOME, /* the answer */
    DPT_WATCH_BEAT,    /* where the sender is; rank 0's asks for one */
    DPT_WATCH_BYE,     /* the sender closes, in good order */
    DPT_WATCH_FAILED,  /* the sender's communicator failed: verdict has status and message */
    DPT_WATCH_VERDICT, /* rank 0's */
    DPT_WATCH_KINDS
} dpt_watch_kind;

typedef struct dpt_watch_message {
    dpt_watch_kind kind;
    int rank;               /* the sender */
    dpt_position_view view; /* hello, welcome, beat, bye */
    dpt_verdict verdict;    /* failed, verdict */
} dpt_watch_message;

void dpt_watch_encode(const dpt_watch_message *message, const uint8_t token[DPT_WATCH_TOKEN],
                      uint8_t frame[DPT_WATCH_FRAME]);
/* False: not of this job, of another version, or nonsense; message is then undefined. Texts are ended, enumerations in
 * range. */
bool dpt_watch_decode(const uint8_t frame[DPT_WATCH_FRAME], const uint8_t token[DPT_WATCH_TOKEN], int world,
                      dpt_watch_message *message);

#endif
