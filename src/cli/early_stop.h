/* early_stop.h: when training ends because a metric of the test samples gets no better, and which evaluation was the
 * best. A pure function of the values, which are the same on all ranks. Local. */
#ifndef DPT_CLI_EARLY_STOP_H
#define DPT_CLI_EARLY_STOP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct dpt_early_stop {
    const char *metric; /* NULL: off */
    bool rises;         /* more of it is better */
    int64_t patience;   /* evaluations without an improvement until the end */
    double min_delta;   /* an improvement is more than this */
    bool any;           /* there was a number */
    double best;
    int64_t best_epoch, since; /* of the best; evaluations since then */
} dpt_early_stop;

/* Takes the next evaluation; true where it is the best so far. The first number is; NaN never is. */
bool dpt_early_stop_add(dpt_early_stop *stop, int64_t epoch, double value);
/* Whether training ends now. */
bool dpt_early_stop_ends(const dpt_early_stop *stop);

#endif
