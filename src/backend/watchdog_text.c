/* watchdog_text.c: where a rank is, in words. Steps are counted from 1 here, as progress lines do. */
#include "backend/comm.h"
#include "backend/watchdog_judge.h"
#include "base/text.h"

static size_t bytes_text(char *text, size_t bytes, size_t at, uint64_t n) {
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)n / 1024;
    int u = 0;
    if (n < 1024) return dpt_append(text, bytes, at, "%d bytes", (int)n);
    for (; value >= 1024 && u < 3; u++) value /= 1024;
    return dpt_append(text, bytes, at, "%.1f %s", value, unit[u]);
}

bool dpt_watch_waits(const dpt_position_view *view, dpt_lane lane, uint64_t *sequence) {
    *sequence = view->lane[lane].finished + 1;
    return view->lane[lane].entered > view->lane[lane].finished;
}

const dpt_collective_record *dpt_watch_record(const dpt_position_view *view, dpt_lane lane, uint64_t sequence) {
    const dpt_collective_record *r = &view->lane[lane].record[sequence % DPT_POSITION_RECORDS];
    return sequence > 0 && r->sequence == sequence ? r : NULL;
}

size_t dpt_watch_record_text(char *text, size_t bytes, size_t at, const dpt_position_view *view, dpt_lane lane,
                             uint64_t sequence) {
    const dpt_collective_record *r = dpt_watch_record(view, lane, sequence);
    bool control = lane == DPT_LANE_CONTROL;
    at = dpt_append(text, bytes, at, "%s %llu", control ? "exchange" : "collective", (unsigned long long)sequence);
    if (r == NULL) return at;
    at = dpt_append(text, bytes, at, ": %s", control ? dpt_control_text(r->what) : dpt_collective_text(r->what));
    if (r->bytes == 0) return at;
    at = dpt_append(text, bytes, at, " of ");
    return bytes_text(text, bytes, at, r->bytes);
}

size_t dpt_watch_place_text(char *text, size_t bytes, size_t at, const dpt_position_view *view) {
    uint64_t gradients, control;
    bool in_gradients = dpt_watch_waits(view, DPT_LANE_GRADIENTS, &gradients);
    bool in_control = dpt_watch_waits(view, DPT_LANE_CONTROL, &control);
    if (view->step >= 0) at = dpt_append(text, bytes, at, "step %lld, ", (long long)view->step + 1);
    at = dpt_append(text, bytes, at, "%s", dpt_phase_text(view->phase));
    if (in_gradients || in_control) {
        at = dpt_append(text, bytes, at, ", ");
        return dpt_watch_record_text(text, bytes, at, view, in_gradients ? DPT_LANE_GRADIENTS : DPT_LANE_CONTROL,
                                     in_gradients ? gradients : control);
    }
    if (gradients == 1) return at;
    at = dpt_append(text, bytes, at, ", after ");
    return dpt_watch_record_text(text, bytes, at, view, DPT_LANE_GRADIENTS, gradients - 1);
}
