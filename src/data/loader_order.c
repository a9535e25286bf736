/* loader_order.c: see loader_order.h. Fillers may be at batches of several epochs at once. Tables stand in a list under
 * a lock, each with the number of its users; one without any is dropped when a table of another epoch than the next is
 * made. A table is made under the lock, so that all fillers that need it wait for one to be made. */
#include "data/loader_order.h"

#include <pthread.h>

#include "base/memory.h"
#include "data/rank_order.h"

typedef struct dpt_lanes_entry {
    uint64_t epoch;
    int users;
    dpt_lanes *lanes;
    struct dpt_lanes_entry *next;
} entry;

struct dpt_loader_order {
    bool shuffle, in_lanes;
    const dpt_selection *selection; /* borrowed, both; or NULL */
    const dpt_draws *draws;
    int rank, world;
    int64_t global_batch;
    dpt_order exact;
    dpt_rank_order *own; /* NULL: ranks hold no samples of their own */
    dpt_lanes_shape shape;
    dpt_lanes_file *file; /* of the shape */
    pthread_mutex_t lock; /* for: */
    entry *entries;
};

enum { LEAST_CHUNK_BYTES = 64 << 10, PLAIN_BLOCK_BYTES = 1 << 20 };

static uint64_t stored_row_bytes(const dpt_dataset *dataset, int field) {
    const dpt_field *f = dpt_dataset_field(dataset, field);
    return (uint64_t)f->elements * f->stored.bytes;
}

static uint64_t block_rows(uint64_t row_bytes, uint64_t chunk_rows) {
    uint64_t unit = chunk_rows > 0 ? chunk_rows : 1, bytes; /* rows that are not torn apart */
    uint64_t wanted = chunk_rows > 0 ? LEAST_CHUNK_BYTES : PLAIN_BLOCK_BYTES;
    if (__builtin_mul_overflow(unit, row_bytes, &bytes) || bytes >= wanted) return unit;
    return unit * ((wanted + bytes - 1) / bytes);
}

_Static_assert(sizeof(dpt_lanes_file) % sizeof(uint64_t) == 0, "numbers follow a shape's files");

/* The first row of each block that a selection leaves rows of, in the memory after the files'; the number of rows at
 * the end. */
static void begin_blocks(const dpt_selection *selection, dpt_lanes_shape *shape, uint64_t *begin) {
    uint64_t rows = 0, sample = 0;
    shape->begin = begin;
    begin[0] = 0;
    for (int f = 0; f < shape->files; f++)
        for (uint64_t at = 0, n; at < shape->file[f].rows; at += n, sample += n) {
            uint64_t left = shape->file[f].rows - at;
            n = left < shape->file[f].block_rows ? left : shape->file[f].block_rows;
            uint64_t before = rows;
            rows = dpt_selection_rank(selection, sample + n);
            if (rows > before) begin[++shape->blocks] = rows;
        }
}

dpt_status dpt_loader_lanes(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_lanes_file **file,
                            dpt_lanes_shape *shape) {
    const dpt_selection *selection = options->selection;
    int files = dpt_dataset_file_count(dataset), longest = dpt_dataset_longest_field(dataset);
    *file = dpt_alloc_zero((size_t)files, sizeof **file);
    DPT_CHECK_ALLOC(*file);
    for (int f = 0; f < files; f++)
        (*file)[f] = (dpt_lanes_file){
            .rows = dpt_dataset_file_rows(dataset, f),
            .block_rows = block_rows(stored_row_bytes(dataset, longest), dpt_dataset_chunk_rows(dataset, f, longest))};
    *shape = (dpt_lanes_shape){.file = *file, .files = files, .window = options->window, .seed = options->seed};
    if (selection) {
        uint64_t blocks = dpt_lanes_blocks(shape), rows = dpt_selection_rows(selection);
        if (blocks > rows) blocks = rows;
        size_t words = (size_t)files * (sizeof **file / sizeof(uint64_t));
        void *both = dpt_realloc(*file, words + blocks + 1, sizeof(uint64_t));
        if (both == NULL) {
            dpt_free(*file);
            *file = NULL;
            return DPT_ERR_MEMORY;
        }
        shape->file = *file = both;
        begin_blocks(selection, shape, (uint64_t *)both + words);
    }
    shape->lanes = dpt_lanes_choose(options->global_batch, dpt_lanes_blocks(shape));
    return DPT_OK;
}

static bool is_in_lanes(const dpt_loader_options *o) { return o->draws == NULL && o->shuffle && o->window > 0; }

dpt_status dpt_loader_capacity(const dpt_dataset *dataset, const dpt_loader_options *options, int64_t *rows) {
    const dpt_selection *selection = options->selection;
    dpt_lanes_file *file = NULL;
    dpt_lanes_shape shape;
    DPT_CHECK(options->global_batch > 0 && options->world > 0, DPT_ERR_ARG, "a global batch of %lld rows on %d ranks",
              (long long)options->global_batch, options->world);
    DPT_CHECK(selection == NULL || dpt_selection_samples(selection) == dpt_dataset_rows(dataset), DPT_ERR_ARG,
              "a selection from %llu samples, but a dataset of %llu",
              (unsigned long long)dpt_selection_samples(selection), (unsigned long long)dpt_dataset_rows(dataset));
    dpt_rank_order *own;
    DPT_TRY(dpt_rank_order_create(dataset, options, &own));
    if (own) {
        *rows = dpt_rank_order_capacity(own);
        dpt_rank_order_destroy(&own);
        return DPT_OK;
    }
    *rows = options->global_batch / options->world + (options->global_batch % options->world != 0);
    if (!is_in_lanes(options)) return DPT_OK;
    DPT_TRY(dpt_loader_lanes(dataset, options, &file, &shape));
    dpt_status status = dpt_lanes_capacity(&shape, options->global_batch, options->world, rows);
    dpt_free(file);
    return status;
}

uint64_t dpt_loader_rows(const dpt_dataset *dataset, const dpt_loader_options *options) {
    return options->selection ? dpt_selection_rows(options->selection) : dpt_dataset_rows(dataset);
}

dpt_status dpt_loader_order_create(const dpt_dataset *dataset, const dpt_loader_options *options,
                                   dpt_loader_order **order) {
    dpt_status status = DPT_OK;
    dpt_loader_order *o = dpt_alloc_zero(1, sizeof *o);
    *order = NULL;
    DPT_CHECK_ALLOC(o);
    pthread_mutex_init(&o->lock, NULL);
    o->shuffle = options->shuffle;
    o->in_lanes = is_in_lanes(options);
    o->selection = options->selection;
    o->draws = options->draws;
    o->rank = options->rank;
    o->world = options->world;
    o->global_batch = options->global_batch;
    o->exact = dpt_order_create(dpt_loader_rows(dataset, options), options->seed);
    DPT_TRY_GOTO(dpt_rank_order_create(dataset, options, &o->own), fail);
    if (o->own) o->in_lanes = false;
    if (o->in_lanes) DPT_TRY_GOTO(dpt_loader_lanes(dataset, options, &o->file, &o->shape), fail);
    *order = o;
    return DPT_OK;
fail:
    dpt_loader_order_destroy(&o);
    return status;
}

static void drop(entry *e) {
    dpt_lanes_destroy(&e->lanes);
    dpt_free(e);
}

void dpt_loader_order_destroy(dpt_loader_order **order) {
    dpt_loader_order *o = *order;
    *order = NULL;
    if (o == NULL) return;
    for (entry *e = o->entries, *next; e; e = next) {
        next = e->next;
        drop(e);
    }
    pthread_mutex_destroy(&o->lock);
    dpt_rank_order_destroy(&o->own);
    dpt_free(o->file);
    dpt_free(o);
}

/* Under the lock. */
static dpt_status add_entry(dpt_loader_order *o, uint64_t epoch, entry **made) {
    for (entry **at = &o->entries; *at;) {
        entry *e = *at;
        if (e->users > 0 || e->epoch + 1 == epoch) {
            at = &e->next;
        } else {
            *at = e->next;
            drop(e);
        }
    }
    *made = dpt_alloc_zero(1, sizeof **made);
    DPT_CHECK_ALLOC(*made);
    dpt_status status = dpt_lanes_create(&o->shape, epoch, &(*made)->lanes);
    if (status != DPT_OK) {
        dpt_free(*made);
        return status;
    }
    (*made)->epoch = epoch;
    (*made)->next = o->entries;
    o->entries = *made;
    return DPT_OK;
}

static dpt_status acquire(dpt_loader_order *o, uint64_t epoch, entry **found) {
    dpt_status status = DPT_OK;
    pthread_mutex_lock(&o->lock);
    entry *e = o->entries;
    while (e && e->epoch != epoch) e = e->next;
    if (e == NULL) status = add_entry(o, epoch, &e);
    if (status == DPT_OK) e->users++;
    pthread_mutex_unlock(&o->lock);
    *found = e;
    return status;
}

dpt_status dpt_batch_order_open(dpt_loader_order *o, uint64_t epoch, uint64_t step, dpt_batch_order *b) {
    *b = (dpt_batch_order){.order = o, .epoch = epoch, .begin = step * (uint64_t)o->global_batch};
    b->global_rows = dpt_epoch_batch_rows(o->exact.rows, o->global_batch, step);
    if (o->own) {
        dpt_rank_order_batch(o->own, step, &b->first_row, &b->rows, &b->own_begin);
        return DPT_OK;
    }
    if (!o->in_lanes) {
        dpt_share(b->global_rows, o->rank, o->world, &b->first_row, &b->rows);
        return DPT_OK;
    }
    DPT_TRY(acquire(o, epoch, &b->in));
    dpt_lanes_batch_find(b->in->lanes, o->global_batch, step, &b->lanes);
    dpt_lanes_share(&b->lanes, o->rank, o->world, &b->first_row, &b->rows);
    return DPT_OK;
}

void dpt_batch_order_close(dpt_loader_order *o, dpt_batch_order *b) {
    if (b->in == NULL) return;
    pthread_mutex_lock(&o->lock);
    b->in->users--;
    pthread_mutex_unlock(&o->lock);
    b->in = NULL;
}

static void file_order(const dpt_selection *selection, uint64_t position, uint64_t n, uint64_t *sample) {
    for (uint64_t i = 0; !selection && i < n; i++) sample[i] = position + i;
    if (selection) dpt_selection_run(selection, position, n, sample);
}

dpt_status dpt_batch_order_samples(const dpt_batch_order *b, int64_t first, int64_t count, uint64_t *sample) {
    const dpt_loader_order *o = b->order;
    uint64_t position = b->begin + (uint64_t)first, n = (uint64_t)count;
    if (o->own) {
        uint64_t begin = b->own_begin + (uint64_t)(first - b->first_row);
        for (uint64_t i = 0; i < n; i++) sample[i] = dpt_rank_order_sample(o->own, b->epoch, begin + i);
        return DPT_OK;
    }
    if (b->in) {
        dpt_lanes_rows(b->in->lanes, &b->lanes, first, count, sample);
    } else if (o->draws) {
        DPT_TRY(dpt_draws_rows(o->draws, b->epoch, position, n, sample));
    } else if (o->shuffle) {
        dpt_order_run(&o->exact, b->epoch, position, n, sample);
    } else {
        file_order(o->selection, position, n, sample);
        return DPT_OK;
    }
    if (o->selection) dpt_selection_find(o->selection, n, sample);
    return DPT_OK;
}

dpt_status dpt_loader_order_expected(const dpt_loader_order *o, uint64_t epoch, dpt_ledger *share) {
    enum { PIECE = 1024 };
    uint64_t sample[PIECE];
    int64_t first, count;
    bool repeats = o->draws && !dpt_draws_once(o->draws);
    *share = (dpt_ledger){0};
    dpt_share((int64_t)o->exact.rows, o->rank, o->world, &first, &count);
    for (int64_t n; count > 0; first += n, count -= n) {
        n = count < PIECE ? count : PIECE;
        if (repeats) {
            DPT_TRY(dpt_draws_rows(o->draws, epoch, (uint64_t)first, (uint64_t)n, sample));
            if (o->selection) dpt_selection_find(o->selection, (uint64_t)n, sample);
        } else {
            file_order(o->selection, (uint64_t)first, (uint64_t)n, sample);
        }
        dpt_ledger_add(share, epoch, sample, n);
    }
    return DPT_OK;
}
