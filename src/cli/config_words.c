/* config_words.c: the words of the command line, sorted; the files that data.files and data.test.files mean. */
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/config_table.h"

static bool ends_in(const char *word, const char *end) {
    size_t n = strlen(word), m = strlen(end);
    return n > m && strcmp(word + n - m, end) == 0;
}

dpt_status dpt_words_split(int argc, char *const *argv, dpt_words *words) {
    *words = (dpt_words){0};
    dpt_status status = DPT_OK;
    size_t room = argc > 0 ? (size_t)argc : 1;
    words->override = dpt_alloc_zero(room, sizeof *words->override);
    DPT_CHECK_ALLOC_GOTO(words->override, fail);
    words->positional = dpt_alloc_zero(room, sizeof *words->positional);
    DPT_CHECK_ALLOC_GOTO(words->positional, fail);
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        DPT_CHECK_GOTO(word[0] != '-', fail, DPT_ERR_CONFIG,
                       "unknown option \"%s\": settings are written key=value, as in optimizer.lr=0.1", word);
        if (strchr(word, '=') != NULL) {
            words->override[words->override_count++] = word;
        } else if (ends_in(word, ".yaml") || ends_in(word, ".yml")) {
            DPT_CHECK_GOTO(words->config == NULL, fail, DPT_ERR_CONFIG, "two config files: %s and %s", words->config,
                           word);
            words->config = word;
        } else {
            words->positional[words->positional_count++] = word;
        }
    }
    return DPT_OK;
fail:
    dpt_words_free(words);
    return status;
}

void dpt_words_free(dpt_words *words) {
    dpt_free(words->override);
    dpt_free(words->positional);
    *words = (dpt_words){0};
}

static int bytewise(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int stop_at_error(const char *path, int code) {
    (void)path;
    errno = code;
    return 1;
}

/* glob() sorts by the locale, which may differ between hosts: we sort by bytes. */
static dpt_status add_matches(dpt_config_value *files, const char *key, const char *pattern) {
    glob_t found = {0};
    errno = 0;
    int failed = glob(pattern, GLOB_NOSORT, stop_at_error, &found);
    if (failed == GLOB_NOMATCH) return dpt_error(DPT_ERR_CONFIG, "%s: no file matches \"%s\"", key, pattern);
    if (failed == GLOB_NOSPACE) return dpt_error(DPT_ERR_MEMORY, "%s: out of memory at \"%s\"", key, pattern);
    if (failed) return dpt_error(DPT_ERR_IO, "%s: \"%s\": %s", key, pattern, strerror(errno));
    qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, bytewise);
    dpt_status status = DPT_OK;
    for (size_t i = 0; i < found.gl_pathc && status == DPT_OK; i++)
        status = dpt_config_value_add(files, found.gl_pathv[i], strlen(found.gl_pathv[i]));
    globfree(&found);
    return status;
}

static dpt_status find_files(const char *key, const dpt_config_texts *patterns, dpt_config_texts *files) {
    dpt_config_value found = {0};
    dpt_status status = DPT_OK;
    *files = (dpt_config_texts){0};
    for (int64_t i = 0; i < patterns->count; i++) DPT_TRY_GOTO(add_matches(&found, key, patterns->item[i]), fail);
    *files = (dpt_config_texts){found.item, found.count};
    return DPT_OK;
fail:
    dpt_config_value_free(&found);
    return status;
}

dpt_status dpt_config_files(const dpt_config *config, dpt_config_texts *files) {
    return find_files("data.files", &config->data.files, files);
}

dpt_status dpt_config_test_files(const dpt_config *config, dpt_config_texts *files) {
    return find_files("data.test.files", &config->data.test.files, files);
}
