/* npz_member.c: see npz_member.h. What the archive declares of a member is checked against the archive's own size
 * before anything is unpacked, so that no size leads further than deflate can unpack the bytes that are there. */
#include "data/npz_member.h"

#include <string.h>
#include <zip.h>

#include "base/memory.h"
#include "base/text.h"

enum { MAX_LISTED = 12, MAX_NAME = 60, DEFLATE_MOST = 1032 /* bytes from one */ };

bool dpt_npz_is(const unsigned char *prefix, int64_t bytes) {
    return bytes >= 4 && (memcmp(prefix, "PK\3\4", 4) == 0 || memcmp(prefix, "PK\5\6", 4) == 0);
}

static dpt_status zip_failure(zip_error_t *error) {
    int code = zip_error_code_zip(error);
    dpt_status status = code == ZIP_ER_MEMORY                                      ? DPT_ERR_MEMORY
                        : zip_error_system_type(error) == ZIP_ET_SYS               ? DPT_ERR_IO
                        : code == ZIP_ER_COMPNOTSUPP || code == ZIP_ER_ENCRNOTSUPP ? DPT_ERR_UNSUPPORTED
                                                                                   : DPT_ERR_DATA;
    return dpt_error(status, "damaged or truncated archive: %s", zip_error_strerror(error));
}

static dpt_status open_archive(const char *path, struct zip **archive) {
    int code = 0;
    *archive = zip_open(path, ZIP_RDONLY, &code);
    if (*archive) return DPT_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    dpt_status status = zip_failure(&error);
    zip_error_fini(&error);
    return status;
}

/* The length of a member's name without ".npy". */
static size_t stem(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".npy") == 0 ? n - 4 : n;
}

static bool same_stem(const char *a, const char *b) { return stem(a) == stem(b) && memcmp(a, b, stem(a)) == 0; }

/* Names are the archive's: what libzip leaves of control characters (ends of lines) stays out of a message. */
static size_t append_name(char *text, size_t bytes, size_t length, const char *name) {
    size_t from = length, n = stem(name);
    length = dpt_append(text, bytes, length, "%.*s", n < MAX_NAME ? (int)n : MAX_NAME, name);
    for (size_t i = from; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127) text[i] = '?';
    return length;
}

static void list_names(struct zip *archive, int64_t count, char *text, size_t bytes) {
    size_t length = 0;
    for (int64_t i = 0; i < count && i < MAX_LISTED; i++) {
        const char *name = zip_get_name(archive, (zip_uint64_t)i, 0);
        if (i) length = dpt_append(text, bytes, length, ", ");
        length = append_name(text, bytes, length, name ? name : "?");
    }
    if (count > MAX_LISTED) dpt_append(text, bytes, length, ", ...");
}

static dpt_status find_member(struct zip *archive, const char *part, zip_uint64_t *index) {
    int64_t count = zip_get_num_entries(archive, 0), found = 0;
    char names[900] = "";
    for (int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(archive, (zip_uint64_t)i, 0);
        if (name == NULL) return zip_failure(zip_get_error(archive));
        if (part && !same_stem(name, part)) continue;
        *index = (zip_uint64_t)i;
        found++;
    }
    if (found == 1) return DPT_OK;
    DPT_CHECK(count > 0, DPT_ERR_DATA, "an archive without arrays");
    list_names(archive, count, names, sizeof names);
    DPT_CHECK(part != NULL, DPT_ERR_CONFIG, "holds %lld arrays, and FILE#NAME says which one: %s", (long long)count,
              names);
    DPT_CHECK(found > 0, DPT_ERR_CONFIG, "has no array \"%s\"; it holds %s", part, names);
    return dpt_error(DPT_ERR_DATA, "holds the array \"%s\" %lld times", part, (long long)found);
}

static dpt_status check_member(struct zip *archive, zip_uint64_t index, int64_t archive_bytes, int64_t *bytes) {
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    zip_stat_t about;
    zip_stat_init(&about);
    if (zip_stat_index(archive, index, 0, &about) != 0) return zip_failure(zip_get_error(archive));
    DPT_CHECK((about.valid & needed) == needed, DPT_ERR_DATA, "damaged archive: it does not say how the array is kept");
    DPT_CHECK(about.encryption_method == ZIP_EM_NONE, DPT_ERR_UNSUPPORTED, "encrypted arrays are not supported");
    bool stored = about.comp_method == ZIP_CM_STORE;
    DPT_CHECK(stored || about.comp_method == ZIP_CM_DEFLATE, DPT_ERR_UNSUPPORTED,
              "packed by ZIP's method %d, which is not supported (only 0, stored, and 8, deflate)", about.comp_method);
    unsigned long long packed = about.comp_size, unpacked = about.size;
    DPT_CHECK(packed <= (uint64_t)archive_bytes, DPT_ERR_DATA, "declares %llu packed bytes in an archive of %lld",
              packed, (long long)archive_bytes);
    DPT_CHECK(stored ? unpacked == packed : unpacked / DEFLATE_MOST <= packed, DPT_ERR_DATA,
              "declares %llu bytes, which its %llu packed bytes cannot hold", unpacked, packed);
    *bytes = (int64_t)unpacked;
    return DPT_OK;
}

dpt_status dpt_npz_open(const char *path, int64_t archive_bytes, const char *part, dpt_npz_member *member) {
    *member = (dpt_npz_member){.bytes = 0};
    zip_uint64_t index = 0;
    char name[MAX_NAME + 4] = "";
    dpt_status status;
    DPT_TRY_GOTO(open_archive(path, &member->archive), fail);
    DPT_TRY_GOTO(find_member(member->archive, part, &index), fail);
    append_name(name, sizeof name, 0, zip_get_name(member->archive, index, 0));
    member->name = dpt_strdup(name);
    DPT_CHECK_ALLOC_GOTO(member->name, fail);
    DPT_TRY_GOTO(check_member(member->archive, index, archive_bytes, &member->bytes), fail);
    member->file = zip_fopen_index(member->archive, index, 0);
    if (member->file) return DPT_OK;
    status = zip_failure(zip_get_error(member->archive));
fail:
    dpt_npz_close(member);
    return status;
}

dpt_status dpt_npz_read(dpt_npz_member *member, void *out, int64_t bytes, int64_t *got) {
    *got = 0;
    while (*got < bytes) {
        zip_int64_t n = zip_fread(member->file, (char *)out + *got, (zip_uint64_t)(bytes - *got));
        if (n < 0) return zip_failure(zip_file_get_error(member->file));
        if (n == 0) break;
        *got += n;
    }
    return DPT_OK;
}

void dpt_npz_close(dpt_npz_member *member) {
    if (member->file) zip_fclose(member->file);
    if (member->archive) zip_discard(member->archive);
    dpt_free(member->name);
    *member = (dpt_npz_member){.bytes = 0};
}
