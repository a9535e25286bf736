/* job_groups.c: settings of parameters by the patterns of a config: optimizer.no_decay and frozen, then the entries of
 * optimizer.groups in their order, each of which changes what it names. A pattern that matches nothing is an error, but
 * for no_decay, whose default is for any model. */
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/job.h"

static bool matches(const dpt_config_texts *patterns, const char *name) {
    for (int64_t i = 0; i < patterns->count; i++)
        if (fnmatch(patterns->item[i], name, 0) == 0) return true;
    return false;
}

/* The next word of text, cut short where it has `bytes` or more; false at the end. */
static bool next_word(const char **text, char *word, size_t bytes) {
    *text += strspn(*text, " \t");
    size_t n = strcspn(*text, " \t"), kept = n < bytes ? n : bytes - 1;
    memcpy(word, *text, kept);
    word[kept] = '\0';
    *text += n;
    return n > 0;
}

static dpt_status apply_word(const char *entry, const char *word, dpt_group *group) {
    if (strncmp(word, "lr=", 3) == 0) {
        char *end;
        group->lr_factor = strtod(word + 3, &end);
        DPT_CHECK(end != word + 3 && *end == '\0' && isfinite(group->lr_factor) && group->lr_factor >= 0,
                  DPT_ERR_CONFIG, "optimizer.groups \"%s\": \"%s\" is no factor of the learning rate", entry, word);
    } else if (strcmp(word, "no_decay") == 0 || strcmp(word, "decay") == 0) {
        group->no_decay = word[0] == 'n';
    } else if (strcmp(word, "frozen") == 0 || strcmp(word, "trained") == 0) {
        group->frozen = word[0] == 'f';
    } else {
        return dpt_error(DPT_ERR_CONFIG,
                         "optimizer.groups \"%s\": \"%s\" is none of lr=FACTOR, no_decay, decay, frozen, trained",
                         entry, word);
    }
    return DPT_OK;
}

/* Changes group where the entry's pattern matches name; NULL matches nothing: the entry is only checked. */
static dpt_status apply_entry(const char *entry, const char *name, dpt_group *group) {
    char pattern[256], word[64];
    const char *text = entry;
    dpt_group changed = *group;
    DPT_CHECK(next_word(&text, pattern, sizeof pattern) && text[strspn(text, " \t")] != '\0', DPT_ERR_CONFIG,
              "optimizer.groups \"%s\": wanted a pattern, then settings", entry);
    while (next_word(&text, word, sizeof word)) DPT_TRY(apply_word(entry, word, &changed));
    if (name && fnmatch(pattern, name, 0) == 0) *group = changed;
    return DPT_OK;
}

static dpt_status check_used(const dpt_graph *g, const char *key, const char *entry) {
    char pattern[256];
    const char *text = entry;
    if (!next_word(&text, pattern, sizeof pattern)) return DPT_OK;
    for (int64_t i = 0; i < g->n_param; i++)
        if (fnmatch(pattern, g->param[i].name, 0) == 0) return DPT_OK;
    const char *none = "none";
    return dpt_error(DPT_ERR_CONFIG, "%s \"%s\": no parameter matches; there are %s to %s", key, entry,
                     g->n_param > 0 ? g->param[0].name : none, g->n_param > 0 ? g->param[g->n_param - 1].name : none);
}

dpt_status dpt_job_groups(dpt_job *job) {
    const dpt_config *c = job->config;
    const dpt_config_texts *entries = &c->optimizer.groups, *frozen = &c->optimizer.frozen;
    dpt_group none = {0};
    for (int64_t k = 0; k < entries->count; k++) {
        DPT_TRY(apply_entry(entries->item[k], NULL, &none));
        DPT_TRY(check_used(job->graph, "optimizer.groups", entries->item[k]));
    }
    for (int64_t k = 0; k < frozen->count; k++) DPT_TRY(check_used(job->graph, "optimizer.frozen", frozen->item[k]));
    for (int64_t i = 0; i < job->graph->n_param; i++) {
        const char *name = job->graph->param[i].name;
        dpt_group group = {
            .lr_factor = 1, .no_decay = matches(&c->optimizer.no_decay, name), .frozen = matches(frozen, name)};
        for (int64_t k = 0; k < entries->count; k++) DPT_TRY(apply_entry(entries->item[k], name, &group));
        dpt_param_group(job->graph, name, group);
    }
    return DPT_OK;
}
