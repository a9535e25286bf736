/* exit_code.c: see exit_code.h. */
#include "cli/exit_code.h"

static dpt_exit plain_code(dpt_status status) {
    switch (status) {
        case DPT_OK: return DPT_EXIT_DONE;
        case DPT_ERR_ARG:
        case DPT_ERR_CONFIG:
        case DPT_ERR_SHAPE:
        case DPT_ERR_UNSUPPORTED: return DPT_EXIT_CONFIG;
        case DPT_ERR_DATA: return DPT_EXIT_DATA;
        case DPT_ERR_DEVICE: return DPT_EXIT_DEVICE;
        case DPT_ERR_PEER: return DPT_EXIT_PEER;
        case DPT_ERR_DIVERGED: return DPT_EXIT_DIVERGED;
        case DPT_ERR_IO: return DPT_EXIT_IO;
        case DPT_ERR_MEMORY:
        case DPT_ERR_INTERNAL: return DPT_EXIT_INTERNAL;
    }
    return DPT_EXIT_INTERNAL;
}

/* Missing, damaged, of a newer version, of another model: in each case there is nothing to start from. */
static int is_unusable(dpt_status status) {
    return status == DPT_ERR_IO || status == DPT_ERR_DATA || status == DPT_ERR_UNSUPPORTED || status == DPT_ERR_SHAPE;
}

dpt_exit dpt_exit_code(dpt_status status, dpt_exit_context context) {
    if (context == DPT_EXIT_WHILE_LOADING && is_unusable(status)) return DPT_EXIT_CHECKPOINT;
    if (context == DPT_EXIT_WHILE_STOPPING && status == DPT_OK) return DPT_EXIT_PREEMPTED;
    return plain_code(status);
}

const char *dpt_exit_text(int code) {
    switch (code) {
#define CASE(name, value, text) \
    case value: return text;
        DPT_EXIT_LIST(CASE)
#undef CASE
    }
    return "unknown";
}
