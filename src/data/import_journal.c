/* import_journal.c: see import_journal.h. The plan has a digest of its own, so that a damaged journal is not believed;
 * a mark is one byte, which is written whole or not. */
#include "data/import_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

typedef struct journal_head {
    char magic[8]; /* and the version */
    uint64_t request;
    int64_t target_bytes, plan_bytes, pieces;
    uint64_t plan_digest;
} journal_head;

static const char magic[8] = "DPTIMP\0\1";

static dpt_status write_failed(const char *path) {
    return dpt_error(DPT_ERR_IO, "%s cannot be written: %s", path, strerror(errno));
}

dpt_status dpt_import_journal_create(const char *path, uint64_t request, int64_t target_bytes,
                                     const dpt_import_plan *plan, dpt_import_journal *journal) {
    journal_head head = {.request = request,
                         .target_bytes = target_bytes,
                         .plan_bytes = plan->size,
                         .pieces = plan->pieces,
                         .plan_digest = dpt_hash(plan->bytes, (size_t)plan->size, 0)};
    memcpy(head.magic, magic, sizeof magic);
    *journal = (dpt_import_journal){.file = -1, .marks_at = (int64_t)sizeof head + plan->size};
    char *all = dpt_alloc_zero((size_t)(journal->marks_at + plan->pieces), 1);
    DPT_CHECK_ALLOC(all);
    memcpy(all, &head, sizeof head);
    memcpy(all + sizeof head, plan->bytes, (size_t)plan->size);
    dpt_status status = dpt_file_write(path, all, (size_t)(journal->marks_at + plan->pieces));
    dpt_free(all);
    DPT_TRY(status);
    journal->file = open(path, O_WRONLY | O_CLOEXEC);
    if (journal->file >= 0) return DPT_OK;
    status = write_failed(path);
    unlink(path);
    return status;
}

static bool read_at(int file, int64_t at, void *out, int64_t bytes) {
    for (int64_t got = 0; got < bytes;) {
        const ssize_t n = pread(file, (char *)out + got, (size_t)(bytes - got), (off_t)(at + got));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        got += n;
    }
    return true;
}

/* Whether the head is of this program's kind, and its sizes are those of the file. */
static bool is_whole(int file, journal_head *head) {
    struct stat about;
    int64_t all;
    return fstat(file, &about) == 0 && read_at(file, 0, head, (int64_t)sizeof *head) &&
           memcmp(head->magic, magic, sizeof magic) == 0 && head->plan_bytes > 0 && head->pieces > 0 &&
           !__builtin_add_overflow(head->plan_bytes, head->pieces, &all) &&
           !__builtin_add_overflow(all, (int64_t)sizeof *head, &all) && all == about.st_size;
}

static dpt_status read_plan(int file, const journal_head *head, int count, int formats, dpt_import_plan *plan,
                            uint8_t **marks, bool *good) {
    plan->size = head->plan_bytes;
    plan->bytes = dpt_alloc((size_t)plan->size);
    *marks = dpt_alloc((size_t)head->pieces);
    if (plan->bytes == NULL || *marks == NULL) return DPT_ERR_MEMORY;
    *good = read_at(file, (int64_t)sizeof *head, plan->bytes, plan->size) &&
            dpt_hash(plan->bytes, (size_t)plan->size, 0) == head->plan_digest &&
            dpt_import_plan_read(plan, count, formats) && plan->pieces == head->pieces &&
            read_at(file, (int64_t)sizeof *head + plan->size, *marks, head->pieces);
    for (int64_t p = 0; *good && p < head->pieces; p++) (*marks)[p] = (*marks)[p] == 1;
    return DPT_OK;
}

dpt_status dpt_import_journal_open(const char *path, uint64_t request, int64_t target_bytes, int count, int formats,
                                   dpt_import_journal *journal, dpt_import_plan *plan, uint8_t **marks, bool *found,
                                   const char **why) {
    journal_head head;
    *journal = (dpt_import_journal){.file = open(path, O_RDWR | O_CLOEXEC)};
    *plan = (dpt_import_plan){0};
    *marks = NULL;
    *found = false;
    *why = NULL;
    if (journal->file < 0) return DPT_OK;
    dpt_status status = DPT_OK;
    if (!is_whole(journal->file, &head))
        *why = "its journal is damaged or of another version";
    else if (head.request != request)
        *why = "it is of other sources, or they changed, or of another version of dptrain";
    else if (head.target_bytes != target_bytes)
        *why = "it has another size than its journal says";
    else
        status = read_plan(journal->file, &head, count, formats, plan, marks, found);
    if (status == DPT_OK && *found) {
        journal->marks_at = (int64_t)sizeof head + plan->size;
        return DPT_OK;
    }
    if (*why == NULL) *why = "its journal is damaged";
    dpt_import_plan_close(plan);
    dpt_free(*marks);
    *marks = NULL;
    dpt_import_journal_close(journal);
    return status;
}

dpt_status dpt_import_journal_mark(const dpt_import_journal *journal, const char *path, int64_t piece) {
    static const uint8_t done = 1;
    ssize_t n;
    do n = pwrite(journal->file, &done, 1, (off_t)(journal->marks_at + piece));
    while (n < 0 && errno == EINTR);
    return n == 1 ? DPT_OK : write_failed(path);
}

void dpt_import_journal_close(dpt_import_journal *journal) {
    if (journal->file >= 0) close(journal->file);
    journal->file = -1;
}
