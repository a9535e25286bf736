/* early_stop.c: see early_stop.h. */
#include "cli/early_stop.h"

#include <math.h>

bool dpt_early_stop_add(dpt_early_stop *s, int64_t epoch, double value) {
    double gain = s->rises ? value - s->best : s->best - value;
    bool better = !isnan(value) && (!s->any || gain > s->min_delta);
    s->since = better ? 0 : s->since + 1;
    if (!better) return false;
    s->any = true;
    s->best = value;
    s->best_epoch = epoch;
    return true;
}

bool dpt_early_stop_ends(const dpt_early_stop *s) { return s->metric && s->since >= s->patience; }
