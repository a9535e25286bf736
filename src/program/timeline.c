/* timeline.c: see timeline.h. */
#include "program/timeline.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

typedef struct span {
    dpt_track track;
    const char *name, *kind;
    double begin_s, end_s;
    dpt_cost cost;
} span;

struct dpt_timeline {
    int rank;
    char host[64];
    span *spans;
    int64_t n_span, capacity, dropped;
};

static const char *const track_name[DPT_TRACK_COUNT] = {"steps", "loader", "operations", "exchange"};

dpt_status dpt_timeline_create(int rank, dpt_timeline **timeline) {
    dpt_timeline *t = *timeline = dpt_alloc_zero(1, sizeof *t);
    DPT_CHECK_ALLOC(t);
    t->rank = rank;
    if (gethostname(t->host, sizeof t->host - 1) != 0) t->host[0] = 0;
    return DPT_OK;
}

void dpt_timeline_destroy(dpt_timeline **timeline) {
    dpt_timeline *t = timeline ? *timeline : NULL;
    if (t == NULL) return;
    *timeline = NULL;
    dpt_free(t->spans);
    dpt_free(t);
}

static dpt_status append(dpt_timeline *t, const span *s) {
    DPT_GROW(t->spans, t->n_span, t->capacity);
    t->spans[t->n_span++] = *s;
    return DPT_OK;
}

void dpt_timeline_add(dpt_timeline *t, dpt_track track, const char *name, const char *kind, double begin_s,
                      double end_s, const dpt_cost *cost) {
    span s = {.track = track, .name = name, .kind = kind, .begin_s = begin_s, .end_s = end_s};
    if (cost) s.cost = *cost;
    if (append(t, &s) != DPT_OK) t->dropped++;
}

/* ---- the trace ---- */

/* Names come from users: quotes, backslashes and control characters are escaped. */
static void write_text(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void write_span(FILE *out, const dpt_timeline *t, const span *s, double origin_s) {
    fputs(",\n{\"name\":", out);
    write_text(out, s->name);
    fputs(",\"cat\":", out);
    write_text(out, s->kind);
    fprintf(out, ",\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f", t->rank, (int)s->track,
            1e6 * (s->begin_s - origin_s), 1e6 * (s->end_s - s->begin_s));
    if (s->cost.bytes > 0)
        fprintf(out, ",\"args\":{\"op\":\"%s\",\"bytes\":%.0f,\"flop\":%.0f}", s->kind, s->cost.bytes, s->cost.flop);
    fputc('}', out);
}

static dpt_status check_dropped(const dpt_timeline *t) {
    DPT_CHECK(t->dropped == 0, DPT_ERR_MEMORY, "no memory for %lld spans of the profile", (long long)t->dropped);
    return DPT_OK;
}

dpt_status dpt_timeline_write(const dpt_timeline *t, const char *path) {
    double origin_s = t->n_span ? t->spans[0].begin_s : 0;
    for (int64_t i = 0; i < t->n_span; i++)
        if (t->spans[i].begin_s < origin_s) origin_s = t->spans[i].begin_s;
    DPT_TRY(check_dropped(t));
    FILE *out = fopen(path, "w");
    DPT_CHECK(out != NULL, DPT_ERR_IO, "%s cannot be written", path);
    fprintf(out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    fprintf(out, "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"name\":\"rank %d on %s\"}}", t->rank,
            t->rank, t->host);
    for (int i = 0; i < DPT_TRACK_COUNT; i++)
        fprintf(out, ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"%s\"}}",
                t->rank, i, track_name[i]);
    for (int64_t i = 0; i < t->n_span; i++) write_span(out, t, &t->spans[i], origin_s);
    fprintf(out, "\n]}\n");
    bool failed = ferror(out) != 0;
    failed |= fclose(out) != 0;
    DPT_CHECK(!failed, DPT_ERR_IO, "%s could not be written whole", path);
    return DPT_OK;
}

/* ---- the table ---- */

typedef struct row {
    const char *kind;
    int64_t calls;
    double seconds;
    dpt_cost cost;
} row;

static int longest_first(const void *a, const void *b) {
    double x = ((const row *)a)->seconds, y = ((const row *)b)->seconds;
    return (x < y) - (x > y);
}

static row *row_of(row *rows, int64_t *n, const char *kind) {
    for (int64_t i = 0; i < *n; i++)
        if (strcmp(rows[i].kind, kind) == 0) return &rows[i];
    rows[*n] = (row){.kind = kind};
    return &rows[(*n)++];
}

static void print_share(FILE *out, double rate, double ceiling) {
    if (ceiling > 0 && rate > 0)
        fprintf(out, " %6.1f %%", 100 * rate / ceiling);
    else
        fprintf(out, " %8s", "-");
}

static void print_row(FILE *out, const row *r, double whole, const dpt_ceilings *c) {
    double bytes = r->seconds > 0 ? r->cost.bytes / r->seconds : 0;
    double flop = r->seconds > 0 ? r->cost.flop / r->seconds : 0;
    fprintf(out, "%-20s %8lld %12.3f %6.1f %% %10.2f", r->kind, (long long)r->calls, 1e3 * r->seconds,
            whole > 0 ? 100 * r->seconds / whole : 0, bytes / 1e9);
    print_share(out, bytes, c->bytes_per_s);
    fprintf(out, " %10.2f", flop / 1e9);
    print_share(out, flop, c->flop_per_s);
    fputc('\n', out);
}

dpt_status dpt_timeline_table(const dpt_timeline *t, const dpt_ceilings *ceilings, FILE *out) {
    DPT_TRY(check_dropped(t));
    row *rows = dpt_alloc_zero((size_t)t->n_span + 1, sizeof *rows);
    DPT_CHECK_ALLOC(rows);
    int64_t n = 0;
    double whole = 0;
    for (int64_t i = 0; i < t->n_span; i++) {
        const span *s = &t->spans[i];
        if (s->track != DPT_TRACK_OPS && s->track != DPT_TRACK_EXCHANGE) continue;
        row *r = row_of(rows, &n, s->kind);
        r->calls++;
        r->seconds += s->end_s - s->begin_s;
        r->cost.bytes += s->cost.bytes;
        r->cost.flop += s->cost.flop;
        whole += s->end_s - s->begin_s;
    }
    qsort(rows, (size_t)n, sizeof *rows, longest_first);
    fprintf(out, "%-20s %8s %12s %8s %10s %8s %10s %8s\n", "operation", "calls", "ms", "share", "GB/s", "of peak",
            "GFLOP/s", "of peak");
    for (int64_t i = 0; i < n; i++) print_row(out, &rows[i], whole, ceilings);
    fprintf(out, "ceilings: copy %.2f GB/s, product %.2f GFLOP/s\n", ceilings->bytes_per_s / 1e9,
            ceilings->flop_per_s / 1e9);
    dpt_free(rows);
    return DPT_OK;
}
