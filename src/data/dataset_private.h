/* dataset_private.h: what a dataset holds, for the files that open one and make rows which no file holds as such:
 * sequences (dataset_sequence.c) and what a caller has in memory (dataset_source.c). Their parts of the index have the
 * storage DPT_STORAGE_ELSEWHERE, and a reader turns to dpt_rows_make for them. */
#ifndef DPT_DATA_DATASET_PRIVATE_H
#define DPT_DATA_DATASET_PRIVATE_H

#include "data/dataset_index.h"
#include "data/reader.h"

/* A field of samples of different lengths, or their lengths. */
typedef struct dpt_sequence {
    dpt_dataset *steps;    /* of all samples, one after another, as rows; NULL: the lengths alone are delivered */
    const uint64_t *begin; /* [rows + 1] of steps; NULL: no such field */
    bool owns_begin;       /* otherwise another field's */
    bool cuts;
    int64_t length; /* most steps of a sample as delivered */
    double pad;
} dpt_sequence;

/* What the caller of dptrain/data.h has given. */
typedef struct dpt_caller dpt_caller;

struct dpt_dataset {
    dpt_index index;
    uint64_t digest;
    int *descriptor;        /* [file], -1: not open */
    dpt_sequence *sequence; /* [sequences]: [field]; NULL: none has one */
    int sequences;
    dpt_caller *caller; /* NULL: files */
};

/* Opens files whose samples all stand row by row. As dpt_dataset_open_indexed else.
 * Collective. */
dpt_status dpt_dataset_open_rows(const dpt_control *control, const char *const *files, int file_count,
                                 const dpt_field_spec *fields, int field_count, const char *index_folder,
                                 dpt_dataset **dataset);
/* The same where at least one field has offsets. Collective. */
dpt_status dpt_dataset_open_sequences(const dpt_control *control, const char *const *files, int file_count,
                                      const dpt_field_spec *fields, int field_count, const char *index_folder,
                                      dpt_dataset **dataset);
/* Frees what belongs to sequences. Local. */
void dpt_sequences_close(dpt_dataset *dataset);
/* dpt_dataset_chunk_rows of a field of sequences. Local. */
uint64_t dpt_sequence_chunk_rows(const dpt_dataset *dataset, int file, int field);

void dpt_caller_close(dpt_caller **caller);
/* dpt_rows_make of what the caller has given. Any thread. Local. */
dpt_status dpt_caller_rows(const dpt_dataset *dataset, int field, uint64_t row, uint64_t count, void *out);

/* What one reader needs for rows that are made: readers of the steps of sequences. NULL where there are none. */
typedef struct dpt_rows_maker dpt_rows_maker;
/* The part of a cache of so many bytes that steps get: what their chunks are of all that have to be decoded. Local. */
uint64_t dpt_rows_maker_bytes(const dpt_dataset *dataset, uint64_t cache_bytes);
/* cache_bytes: of that whole cache. first: another reader's, whose caches are shared; NULL: none. Local. */
dpt_status dpt_rows_maker_create(const dpt_dataset *dataset, uint64_t cache_bytes, const dpt_rows_maker *first,
                                 dpt_rows_maker **maker);
void dpt_rows_maker_destroy(dpt_rows_maker **maker);
/* Adds what its readers have done; maker may be NULL. Local. */
void dpt_rows_maker_done(const dpt_rows_maker *maker, dpt_reader_work *sum);
/* dpt_reader_rows for fields whose rows are made; rows are inside the dataset. Local. */
dpt_status dpt_rows_make(const dpt_dataset *dataset, dpt_rows_maker *maker, int field, uint64_t row, uint64_t count,
                         void *out);

#endif
