/* exit_report.c: see exit_report.h. */
#include "cli/exit_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/exit_code.h"
#include "dptrain/types.h"

/* The bytes of the UTF-8 character that begins at c; 0: none does. */
static int utf8_bytes(const unsigned char *c) {
    int n = c[0] < 0x80 ? 1 : c[0] >= 0xc2 && c[0] < 0xe0 ? 2 : c[0] >= 0xe0 && c[0] < 0xf0 ? 3 : 0;
    if (c[0] >= 0xf0 && c[0] < 0xf5) n = 4;
    for (int i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return n;
}

static void write_json_text(FILE *out, const char *text) {
    if (text == NULL) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0';) {
        int n = utf8_bytes(c);
        if (n == 0)
            fputs("\\ufffd", out);
        else if (n > 1)
            fwrite(c, 1, (size_t)n, out);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else
            fprintf(out, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
        c += n ? n : 1;
    }
    fputc('"', out);
}

static void write_json_member(FILE *out, const char *name, const char *text) {
    fprintf(out, ",\n  \"%s\": ", name);
    write_json_text(out, text);
}

static void write_json_count(FILE *out, const char *name, int64_t n) {
    if (n < 0)
        fprintf(out, ",\n  \"%s\": null", name);
    else
        fprintf(out, ",\n  \"%s\": %" PRId64, name, n);
}

static void write_members(FILE *out, const dpt_exit_report *report) {
    fprintf(out, "{\n  \"version\": ");
    write_json_text(out, dpt_version());
    write_json_count(out, "exit_code", report->exit_code);
    write_json_member(out, "status", dpt_exit_text(report->exit_code));
    write_json_member(out, "message", report->message);
    write_json_count(out, "rank", report->rank);
    write_json_member(out, "host", report->host);
    write_json_count(out, "step", report->step);
    write_json_count(out, "epoch", report->epoch);
    write_json_member(out, "phase", report->phase);
    write_json_member(out, "started", report->started);
    write_json_member(out, "ended", report->ended);
    fputs("\n}\n", out);
}

/* The file's path and content; the caller frees both. */
static dpt_status compose(const char *folder, const dpt_exit_report *report, char **path, char **text) {
    size_t bytes = 0;
    *text = NULL;
    *path = dpt_format("%s/exit_report.json", folder);
    DPT_CHECK_ALLOC(*path);
    FILE *out = open_memstream(text, &bytes);
    DPT_CHECK(out != NULL, DPT_ERR_MEMORY, "out of memory: exit_report.json");
    write_members(out, report);
    DPT_CHECK(fclose(out) == 0, DPT_ERR_MEMORY, "out of memory: exit_report.json");
    return DPT_OK;
}

dpt_status dpt_exit_report_write(const char *folder, const dpt_exit_report *report) {
    char *path, *text;
    dpt_status status = compose(folder, report, &path, &text);
    if (status == DPT_OK) status = dpt_file_write(path, text, strlen(text));
    dpt_free(path);
    free(text);
    return status;
}

dpt_status dpt_exit_report_write_first(const char *folder, int writer, const dpt_exit_report *report, bool *first) {
    char *path, *text;
    *first = false;
    dpt_status status = compose(folder, report, &path, &text);
    char *temporary = dpt_format("%s/exit_report.json.%d", folder, writer);
    if (status == DPT_OK && temporary == NULL) status = DPT_ERR_MEMORY;
    if (status == DPT_OK) status = dpt_file_write_first(path, temporary, text, strlen(text), first);
    dpt_free(temporary);
    dpt_free(path);
    free(text);
    return status;
}
