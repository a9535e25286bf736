/* pack.c: see pack.h. First everything is opened and checked, then files are written, each whole or not at all; where a
 * later one fails those before it are removed, so that a set of files is complete or not there.
 *
 * Invariant: rows pass as they are stored; nothing here looks at a value. */
#include "data/pack.h"

#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/chunk_lookup.h"
#include "data/dataset.h"
#include "data/file_list.h"
#include "data/hdf5_util.h"
#include "data/layout_check.h"
#include "data/reader.h"

enum { MAX_DATASETS = 4096, AUTO_CHUNK_BYTES = 1 << 20, BUFFER_BYTES = 4 << 20, CACHE_BYTES = 64 << 20 };
static const int64_t max_chunk_bytes = 64 << 20; /* larger ones are not read */

/* ---- which datasets there are ---- */

typedef struct entry {
    char *path;
    int64_t rows; /* in the first file; -1: no axis */
    bool taken;   /* by a group */
} entry;

typedef struct entry_list {
    entry *entry;
    int64_t count, capacity;
    dpt_status status;
} entry_list;

static void free_list(entry_list *list) {
    for (int64_t i = 0; i < list->count; i++) dpt_free(list->entry[i].path);
    dpt_free(list->entry);
    *list = (entry_list){.count = 0};
}

static int64_t count_rows(hid_t dataset) {
    hsize_t dim[H5S_MAX_RANK] = {0};
    hid_t space = H5Dget_space(dataset);
    int ndim = space < 0 ? -1 : H5Sget_simple_extent_dims(space, dim, NULL);
    dpt_h5_close_space(space);
    return ndim > 0 && dim[0] <= INT64_MAX ? (int64_t)dim[0] : -1;
}

static dpt_status add_entry(entry_list *list, const char *name, int64_t rows) {
    DPT_CHECK(list->count < MAX_DATASETS, DPT_ERR_UNSUPPORTED, "more than %d datasets", MAX_DATASETS);
    DPT_GROW(list->entry, list->count, list->capacity);
    char *path = dpt_format("/%s", name);
    DPT_CHECK_ALLOC(path);
    list->entry[list->count++] = (entry){.path = path, .rows = rows};
    return DPT_OK;
}

static herr_t visit_link(hid_t group, const char *name, const H5L_info_t *link, void *user) {
    entry_list *list = user;
    if (link->type != H5L_TYPE_HARD) return 0;
    list->status = dpt_layout_check(group, name);
    if (list->status != DPT_OK) return 1;
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0) list->status = DPT_H5(object);
    if (object >= 0 && H5Iget_type(object) == H5I_DATASET) list->status = add_entry(list, name, count_rows(object));
    if (object >= 0) H5Oclose(object);
    return list->status == DPT_OK ? 0 : 1;
}

static dpt_status list_datasets(const char *path, entry_list *list) {
    hid_t file;
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = dpt_chunk_lookup_open(path, &file);
    if (status == DPT_OK) {
        status = DPT_H5(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_link, list));
        if (status == DPT_OK) status = list->status;
        if (status != DPT_OK) dpt_error_prefix(status, "%s: ", path);
    }
    dpt_h5_close_file(file);
    dpt_h5_leave(&scope);
    return status;
}

/* Datasets that a later file lacks are found when it is opened. */
static dpt_status check_no_others(const char *path, const char *first, const entry_list *known) {
    entry_list list = {.count = 0};
    dpt_status status;
    DPT_TRY_GOTO(list_datasets(path, &list), fail);
    for (int64_t i = 0; i < list.count; i++) {
        bool found = false;
        for (int64_t k = 0; k < known->count && !found; k++)
            found = strcmp(list.entry[i].path, known->entry[k].path) == 0;
        DPT_CHECK_GOTO(found, fail, DPT_ERR_DATA, "%s: holds %s, which %s does not", path, list.entry[i].path, first);
    }
fail:
    free_list(&list);
    return status;
}

/* ---- opening ---- */

typedef struct packer {
    const dpt_pack_options *options;
    const char *first;   /* file */
    dpt_dataset **group; /* datasets of the same samples, opened together */
    int groups;
    int part; /* the file that is written */
} packer;

static bool same_group(const entry *a, const entry *b) {
    size_t n = (size_t)(strrchr(a->path, '/') - a->path), m = (size_t)(strrchr(b->path, '/') - b->path);
    return a->rows == b->rows && n == m && memcmp(a->path, b->path, n) == 0;
}

/* Any type of element can be had as f64, so nothing is refused for the sake of one. */
static dpt_status open_group(const dpt_control *control, const char *const *files, int file_count, entry_list *list,
                             int64_t first, dpt_dataset **group) {
    dpt_field_spec *spec = dpt_alloc_zero((size_t)list->count, sizeof *spec);
    DPT_CHECK_ALLOC(spec);
    int fields = 0;
    for (int64_t i = first; i < list->count; i++) {
        entry *e = &list->entry[i];
        if (e->taken || !same_group(e, &list->entry[first])) continue;
        e->taken = true;
        spec[fields++] = (dpt_field_spec){.name = e->path, .path = e->path, .dtype = DPT_F64, .ndim = DPT_ANY_NDIM};
    }
    dpt_status status = dpt_dataset_open(control, files, file_count, spec, fields, group);
    dpt_free(spec);
    return status;
}

static dpt_status open_groups(packer *p, const dpt_control *control, const char *const *files, int file_count) {
    entry_list list = {.count = 0};
    dpt_status status;
    DPT_TRY_GOTO(list_datasets(files[0], &list), fail);
    DPT_CHECK_GOTO(list.count > 0, fail, DPT_ERR_DATA, "%s: holds no dataset", files[0]);
    for (int f = 1; f < file_count; f++) DPT_TRY_GOTO(check_no_others(files[f], files[0], &list), fail);
    p->group = dpt_alloc_zero((size_t)list.count, sizeof *p->group);
    DPT_CHECK_ALLOC_GOTO(p->group, fail);
    for (int64_t i = 0; i < list.count; i++)
        if (!list.entry[i].taken)
            DPT_TRY_GOTO(open_group(control, files, file_count, &list, i, &p->group[p->groups++]), fail);
fail:
    free_list(&list);
    return status;
}

/* ---- checks ---- */

static int64_t row_bytes(const dpt_field *field) { return field->elements * field->stored.bytes; }

/* The chunks of a dataset; as the whole would be where they are larger than that. */
static int64_t chunk_rows(const packer *p, const dpt_field *field) {
    int64_t rows = p->options->layout.chunk_rows, fit = AUTO_CHUNK_BYTES / row_bytes(field);
    return rows != DPT_PACK_CHUNK_AUTO ? rows : fit > 0 ? fit : 1;
}

static dpt_status check_chunks(const packer *p, const dpt_dataset *group) {
    for (int i = 0; i < dpt_dataset_field_count(group); i++) {
        const dpt_field *field = dpt_dataset_field(group, i);
        int64_t rows = chunk_rows(p, field), all = (int64_t)dpt_dataset_rows(group), most;
        if (rows > all) rows = all;
        most = max_chunk_bytes / row_bytes(field);
        DPT_CHECK(rows <= most, DPT_ERR_UNSUPPORTED,
                  "%s: chunks of %lld rows are larger than 64 MiB, the most that can be read; %lld rows fit",
                  field->path, (long long)rows, (long long)most);
    }
    return DPT_OK;
}

static dpt_status check_options(const dpt_pack_options *options, const char *target) {
    const dpt_hdf5_layout *layout = &options->layout;
    DPT_CHECK(layout->chunk_rows >= DPT_PACK_CHUNK_AUTO, DPT_ERR_CONFIG, "chunks of %lld rows",
              (long long)layout->chunk_rows);
    DPT_CHECK(layout->deflate >= 0 && layout->deflate <= 9, DPT_ERR_CONFIG,
              "a deflate level of %d; 1 to 9 are possible", layout->deflate);
    DPT_CHECK(layout->chunk_rows != 0 || (layout->deflate == 0 && !layout->shuffle && !layout->fletcher32),
              DPT_ERR_CONFIG, "filters without chunks");
    DPT_CHECK(options->files >= 0 && options->files <= DPT_PACK_MAX_FILES, DPT_ERR_CONFIG,
              "%d files; 1 to %d are possible", options->files, DPT_PACK_MAX_FILES);
    for (int i = 0; i <= options->files; i++) {
        bool last = options->files > 0 && i == options->files;
        char *name = last ? dpt_pack_manifest_name(target) : dpt_pack_name(target, i, options->files);
        DPT_CHECK_ALLOC(name);
        bool there = access(name, F_OK) == 0;
        dpt_status status = there ? dpt_error(DPT_ERR_CONFIG, "%s: exists already", name) : DPT_OK;
        dpt_free(name);
        DPT_TRY(status);
    }
    return DPT_OK;
}

static dpt_status check_groups(const packer *p) {
    for (int g = 0; g < p->groups; g++) {
        uint64_t rows = dpt_dataset_rows(p->group[g]);
        DPT_CHECK(rows >= (uint64_t)p->options->files, DPT_ERR_CONFIG, "%s: %llu samples for %d files",
                  dpt_dataset_field(p->group[g], 0)->path, (unsigned long long)rows, p->options->files);
        if (p->options->layout.chunk_rows != 0) DPT_TRY(check_chunks(p, p->group[g]));
    }
    return DPT_OK;
}

/* ---- writing ---- */

/* The first row of a part: the parts differ by one row at most. */
static uint64_t first_row(uint64_t rows, int part, int parts) {
    uint64_t each = rows / (uint64_t)parts, left = rows % (uint64_t)parts, at = (uint64_t)part;
    return each * at + (at < left ? at : left);
}

/* Whole chunks at a time, so that none is packed twice; one reader, so that none is decoded for every piece of it. */
static dpt_status copy_field(const packer *p, const dpt_dataset *group, int i, dpt_hdf5_output *out) {
    const dpt_field *field = dpt_dataset_field(group, i);
    int parts = p->options->files ? p->options->files : 1;
    uint64_t all = dpt_dataset_rows(group), row = first_row(all, p->part, parts);
    int64_t rows = (int64_t)(first_row(all, p->part + 1, parts) - row), dim[DPT_MAX_NDIM + 1] = {rows};
    dpt_hdf5_layout layout = p->options->layout;
    layout.chunk_rows = layout.chunk_rows == 0 ? 0 : chunk_rows(p, field);
    memcpy(dim + 1, field->dim, (size_t)field->ndim * sizeof *dim);
    DPT_TRY(dpt_hdf5_output_stored(out, field->path, field->stored, &layout, field->ndim + 1, dim));
    dpt_hdf5_output_checksum(out);
    DPT_TRY(dpt_hdf5_output_attributes(out, p->first, field->path));
    int64_t unit = layout.chunk_rows == 0 ? 1 : layout.chunk_rows < rows ? layout.chunk_rows : rows;
    int64_t units = BUFFER_BYTES / (unit * row_bytes(field)), at_once = unit * (units > 0 ? units : 1);
    if (at_once > rows) at_once = rows;
    char *buffer = dpt_alloc((size_t)(at_once * row_bytes(field)));
    DPT_CHECK_ALLOC(buffer);
    dpt_reader *reader;
    dpt_status status = dpt_reader_create(group, CACHE_BYTES, &reader);
    for (int64_t at = 0; at < rows && status == DPT_OK; at += at_once) {
        int64_t n = rows - at < at_once ? rows - at : at_once;
        status = dpt_reader_rows(reader, i, row + (uint64_t)at, (uint64_t)n, buffer);
        if (status == DPT_OK) status = dpt_hdf5_output_rows(out, at, n, buffer);
    }
    dpt_reader_destroy(&reader);
    dpt_free(buffer);
    return status;
}

static dpt_status fill_part(dpt_hdf5_output *out, const void *what) {
    const packer *p = what;
    for (int g = 0; g < p->groups; g++)
        for (int i = 0; i < dpt_dataset_field_count(p->group[g]); i++) DPT_TRY(copy_field(p, p->group[g], i, out));
    return DPT_OK;
}

/* Without ".h5". */
static size_t stem(const char *target) {
    size_t n = strlen(target);
    return n > 3 && strcmp(target + n - 3, ".h5") == 0 ? n - 3 : n;
}

char *dpt_pack_manifest_name(const char *target) { return dpt_format("%.*s.manifest", (int)stem(target), target); }

char *dpt_pack_name(const char *target, int i, int files) {
    size_t end = stem(target);
    int digits = 1;
    for (int most = files - 1; most > 9; most /= 10) digits++;
    return files == 0 ? dpt_strdup(target) : dpt_format("%.*s-%0*d%s", (int)end, target, digits, i, target + end);
}

static void remove_parts(const packer *p, const char *target) {
    for (int i = 0; i < p->part; i++) {
        char *name = dpt_pack_name(target, i, p->options->files);
        if (name) unlink(name);
        dpt_free(name);
    }
}

/* p->part files are there; the manifest is what makes them a set. */
static dpt_status write_manifest(const packer *p, const char *target) {
    char *path = dpt_pack_manifest_name(target), **name = dpt_alloc_zero((size_t)p->part, sizeof *name);
    dpt_status status = path && name ? DPT_OK : DPT_ERR_MEMORY;
    for (int i = 0; i < p->part && status == DPT_OK; i++) {
        name[i] = dpt_pack_name(target, i, p->options->files);
        if (name[i] == NULL) status = DPT_ERR_MEMORY;
    }
    if (status == DPT_OK) status = dpt_manifest_write(path, (const char *const *)name, p->part);
    for (int i = 0; i < p->part && name; i++) dpt_free(name[i]);
    dpt_free(name);
    dpt_free(path);
    return status;
}

static dpt_status write_parts(packer *p, const char *target) {
    for (p->part = 0; p->part < p->options->files || p->part == 0; p->part++) {
        char *name = dpt_pack_name(target, p->part, p->options->files);
        dpt_status status = name ? dpt_hdf5_output_once(name, fill_part, p) : DPT_ERR_MEMORY;
        dpt_free(name);
        if (status == DPT_OK) continue;
        remove_parts(p, target);
        return status;
    }
    if (p->options->files == 0) return DPT_OK;
    dpt_status status = write_manifest(p, target);
    if (status != DPT_OK) remove_parts(p, target);
    return status;
}

static dpt_status pack_files(packer *p, const dpt_control *control, const char *const *files, int file_count,
                             const char *target) {
    dpt_status status;
    p->first = files[0];
    DPT_TRY_GOTO(open_groups(p, control, files, file_count), fail);
    DPT_TRY_GOTO(check_groups(p), fail);
    DPT_TRY_GOTO(write_parts(p, target), fail);
fail:
    for (int g = 0; g < p->groups; g++) dpt_dataset_close(&p->group[g]);
    dpt_free(p->group);
    return status;
}

dpt_status dpt_pack(const dpt_control *control, const char *const *files, int file_count,
                    const dpt_pack_options *options, const char *target) {
    packer p = {.options = options};
    dpt_file_list list;
    DPT_CHECK(file_count > 0, DPT_ERR_ARG, "%s: a pack of no files", target);
    DPT_TRY(check_options(options, target));
    DPT_TRY(dpt_file_list_make(files, file_count, &list)); /* manifests' files in their place */
    const char **path = dpt_alloc((size_t)list.count * sizeof *path);
    dpt_status status = path ? DPT_OK : DPT_ERR_MEMORY;
    for (int64_t i = 0; i < list.count && path; i++) path[i] = list.file[i].path;
    if (status == DPT_OK && list.count >= INT32_MAX)
        status = dpt_error(DPT_ERR_UNSUPPORTED, "a pack of %lld files", (long long)list.count);
    if (status == DPT_OK) status = pack_files(&p, control, path, (int)list.count, target);
    dpt_free(path);
    dpt_file_list_free(&list);
    return status;
}
