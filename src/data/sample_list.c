/* sample_list.c: see sample_list.h. Lines are read into a buffer of fixed size: an entry takes 41 characters at most.
 */
#include "data/sample_list.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { LINE = 256 };

typedef struct reading {
    const char *path;
    FILE *file;
    unsigned long long line; /* from 1 */
    char text[LINE];         /* without comment and what ends the line */
} reading;

static dpt_status no_entry(const reading *r) {
    return dpt_error(DPT_ERR_DATA,
                     "%s, line %llu: \"%.40s%s\" is no number of a sample and no range (such as 17 or 100-199)",
                     r->path, r->line, r->text, strlen(r->text) > 40 ? "..." : "");
}

/* The next line; *any: false at the end of the file. A comment may be of any length. */
static dpt_status next_line(reading *r, bool *any) {
    size_t n = 0;
    bool comment = false, long_line = false;
    int c;
    r->line++;
    for (*any = false; (c = getc(r->file)) != EOF && c != '\n'; *any = true) {
        comment |= c == '#';
        if (comment) continue;
        if (n + 1 < LINE)
            r->text[n++] = c ? (char)c : '?'; /* no text: found below */
        else
            long_line = true;
    }
    r->text[n] = 0;
    *any |= c == '\n';
    DPT_CHECK(!ferror(r->file), DPT_ERR_IO, "%s: %s", r->path, strerror(errno));
    return long_line ? no_entry(r) : DPT_OK;
}

static const char *skip_blanks(const char *at) { return at + strspn(at, " \t\r"); }

/* Decimal digits that fit; NULL where there are none, or too many. */
static const char *parse_number(const char *at, uint64_t *number) {
    if (*at < '0' || *at > '9') return NULL;
    for (*number = 0; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
            return NULL;
    return at;
}

static dpt_status parse_entry(const reading *r, const char *at, uint64_t *first, uint64_t *last) {
    at = parse_number(at, first);
    if (at == NULL) return no_entry(r);
    at = skip_blanks(at);
    *last = *first;
    if (*at == '-') {
        at = parse_number(skip_blanks(at + 1), last);
        if (at == NULL) return no_entry(r);
    }
    return *skip_blanks(at) ? no_entry(r) : DPT_OK;
}

static dpt_status add_line(const reading *r, uint64_t samples, dpt_selection *list) {
    const char *at = skip_blanks(r->line == 1 && strncmp(r->text, "\xEF\xBB\xBF", 3) == 0 ? r->text + 3 : r->text);
    uint64_t first = 0, last = 0;
    if (*at == 0) return DPT_OK;
    DPT_TRY(parse_entry(r, at, &first, &last));
    DPT_CHECK(first <= last, DPT_ERR_DATA, "%s, line %llu: the range %llu-%llu ends before it starts", r->path, r->line,
              (unsigned long long)first, (unsigned long long)last);
    DPT_CHECK(last < samples, DPT_ERR_DATA, "%s, line %llu: sample %llu: the dataset has %llu, from 0 on", r->path,
              r->line, (unsigned long long)last, (unsigned long long)samples);
    for (uint64_t i = first; i <= last; i++)
        DPT_CHECK(!dpt_selection_holds(list, i), DPT_ERR_DATA,
                  "%s, line %llu: sample %llu stands in this list already; name each once", r->path, r->line,
                  (unsigned long long)i);
    dpt_selection_add(list, first, last - first + 1);
    return DPT_OK;
}

dpt_status dpt_sample_list_read(const char *path, uint64_t samples, dpt_selection **list) {
    reading r = {.path = path, .file = fopen(path, "r")};
    bool any = true;
    *list = NULL;
    DPT_CHECK(r.file, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    dpt_status status;
    DPT_TRY_GOTO(dpt_selection_create(samples, false, list), fail);
    while (any) {
        DPT_TRY_GOTO(next_line(&r, &any), fail);
        if (any) DPT_TRY_GOTO(add_line(&r, samples, *list), fail);
    }
    fclose(r.file);
    return DPT_OK;
fail:
    dpt_selection_destroy(list);
    fclose(r.file);
    return status;
}
