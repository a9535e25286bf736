/* fuzz_plan.c: the plan of an import as a journal has it, behind its digest, and what it says of a list of images. */
#include <stdlib.h>
#include <string.h>

#include "data/image_folder.h"
#include "data/import_plan.h"
#include "fuzz.h"

enum { FORMATS = 5, SOURCES = 3 };

/* What a plan that is taken for one must keep: pieces in order, which cover each source. */
static void check_plan(const dpt_import_plan *plan) {
    int64_t before = -1;
    for (int64_t p = 0; p < plan->pieces; p++) {
        int64_t first, end;
        const int64_t item = dpt_import_plan_item(plan, p);
        dpt_import_plan_rows(plan, p, &first, &end);
        if (item < before || first < 0 || end <= first || end > plan->item[item].dim[0]) abort();
        if (item != before && first != 0) abort();
        before = item;
    }
    if (before != SOURCES - 1) abort();
}

static dpt_status dpt_fuzz_plan(const uint8_t *bytes, size_t size) {
    dpt_import_plan plan = {.bytes = malloc(size + 1), .size = (int64_t)size};
    if (plan.bytes == NULL) abort();
    memcpy(plan.bytes, bytes, size);
    const bool good = dpt_import_plan_read(&plan, SOURCES, FORMATS);
    dpt_image_folder folder;
    if (good) {
        check_plan(&plan);
        const dpt_import_item *last = &plan.item[SOURCES - 1];
        if (dpt_image_folder_read("images", plan.notes + last->notes_at, last->notes_bytes, &folder) == DPT_OK)
            dpt_image_folder_close(&folder);
    }
    free(plan.bytes);
    return good ? DPT_OK : dpt_error(DPT_ERR_DATA, "no plan");
}

static void seed(fuzz_seeds *seeds) {
    static const dpt_import_source source[SOURCES] = {{.file = "a"}, {.file = "b"}, {.file = "c"}};
    static const dpt_import_place place[] = {{0, 5, 2}, {100, 700, 102}, {300, 2000, 303}};
    static char list[] = "\2\0\0\0\0\0\0\0a\0b\0\0\0\0\0a/1.png\0\1\0\0\0b/2.png";
    const dpt_import_stream stream[SOURCES] = {
        {.dtype = DPT_F32,
         .ndim = 2,
         .dim = {400, 3},
         .row_bytes = 12,
         .place = place,
         .places = 3,
         .notes = place,
         .notes_bytes = sizeof place},
        {.dtype = DPT_U8, .ndim = 1, .dim = {20 << 20}, .row_bytes = 1},
        {.dtype = DPT_I32, .ndim = 1, .dim = {2}, .row_bytes = 4, .notes = list, .notes_bytes = sizeof list}};
    dpt_import_plan plan;
    if (dpt_import_plan_make(source, stream, (int[]){3, 0, 4}, SOURCES, &plan) != DPT_OK) abort();
    for (int i = 0; i < SOURCES; i++) plan.item[i].offset = 4096 * i;
    fuzz_add_seed(seeds, plan.bytes, (size_t)plan.size);
    dpt_import_plan_close(&plan);
}

const fuzz_target fuzz_this = {.name = "plan", .inputs = 200000, .run = dpt_fuzz_plan, .seed = seed};
