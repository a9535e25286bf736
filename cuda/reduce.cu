/* reduce.cu: sums over dimensions on the GPU, and their converse, broadcast; the number of rows of the global batch.
 *
 * The dimensions of the input are parted as in src/ops/reduce.c: the kept ones, which in C order are the output, and
 * the summed ones. Where the innermost dimension is summed, a few lanes, a warp or a block make an output element;
 * where it is kept, a block makes a tile of neighbouring ones, its threads each a column or some and every so many
 * rows. Where that makes too few blocks, a sum is split over several: they leave what they have in the workspace, and
 * the one that comes last adds it up.
 *
 * A thread adds a few numbers as what they are computed in (f32, for 16 bits too) and carries those sums in f64: as
 * exact as the CPU's, without a conversion for each number. Invariant: the order of additions comes from the shape, the
 * valid rows and the device alone: bits repeat from run to run. */
#include "cuda/map.cuh"
#include "cuda/reduce.cuh"

enum { THREADS = 256, AT_ONCE = 4 };      /* AT_ONCE: packs that a thread loads before it adds */
enum { SHORT_SUM = 32, WARP_SUM = 2048 }; /* elements that four lanes, a warp add up */
enum { TILE_PACKS = 32 };
enum { BLOCKS_EACH = 16 }; /* blocks for a multiprocessor, several times what it holds: none waits long for the last */

typedef enum sum_form { SUM_LANES, SUM_WARP, SUM_BLOCK, SUM_TILE, SUM_FLAT } sum_form;

typedef struct sum_plan {
    const void *x;
    void *y;
    double *partial;   /* (sums or tiles, splits, tile_width) */
    unsigned *arrived; /* (sums or tiles): 0 between runs */
    dpt_dtype y_dtype;
    int axis;
    bool first_kept;                  /* the batch is kept, else summed */
    dpt_coordinates<1> kept, summed;     /* of tiles: kept without the innermost dimension, the line */
    int64_t kept_count, summed_count; /* elements, of one row of the batch where they have it */
    int64_t line;                     /* SUM_TILE, SUM_FLAT: elements */
    int tiles, tile_width, lanes;     /* tiles of a line; threads side by side in one */
    int splits;
    int64_t split; /* summed elements (tiles: rows) of one */
    sum_form form;
    bool packs;   /* in packs of 16 bytes, else by elements */
    int64_t sums; /* sums or tiles at capacity */
} sum_plan;

/* Elements that this run sums up for each output, and outputs. */
__device__ __forceinline__ int64_t summed_of(const sum_plan &p, const dpt_block *block) {
    return p.summed_count * (p.first_kept ? 1 : dpt_rows(block, p.axis));
}
__device__ __forceinline__ int64_t kept_of(const sum_plan &p, const dpt_block *block) {
    return p.kept_count * (p.first_kept ? dpt_rows(block, p.axis) : 1);
}

/* ---- the innermost dimension is summed ---- */

template <typename T, int N>
__device__ __forceinline__ dpt_wide<T> pack_sum(const dpt_elements<T, N> &from) {
    dpt_wide<T> v[N];
#pragma unroll
    for (int j = 0; j < N; j++) v[j] = dpt_load(from.v[j]);
#pragma unroll
    for (int half = N / 2; half > 0; half /= 2)
#pragma unroll
        for (int j = 0; j < half; j++) v[j] += v[j + half];
    return v[0];
}

/* What one of `threads` threads adds of the summed elements [begin, end) from x on; begin is a multiple of N. */
template <typename T, int N>
__device__ __forceinline__ double stretch_sum(const sum_plan &p, const T *x, int64_t begin, int64_t end, int thread,
                                              int threads) {
    typedef dpt_elements<T, N> pack;
    const int64_t whole = end - end % N, step = (int64_t)threads * N;
    double sum = 0;
    for (int64_t r = begin + thread * N; r < whole; r += AT_ONCE * step) {
        pack from[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            if (r + k * step < whole) from[k] = *(const pack *)(x + dpt_offset(p.summed, 0, r + k * step));
        dpt_wide<T> some = 0;
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            if (r + k * step < whole) some += pack_sum<T, N>(from[k]);
        sum += (double)some;
    }
    for (int64_t r = (whole > begin ? whole : begin) + thread; r < end; r += threads)
        sum += (double)dpt_load(x[dpt_offset(p.summed, 0, r)]);
    return sum;
}

/* LANES lanes an output element. */
template <typename T, int N, int LANES>
__global__ void __launch_bounds__(THREADS)
    sum_lanes_kernel(const __grid_constant__ sum_plan p, const dpt_block *block) {
    const int64_t kept = kept_of(p, block), summed = summed_of(p, block);
    for (dpt_row_walk<LANES> walk; walk.first < kept; walk.first += walk.step) {
        const int64_t u = walk.row();
        double sum = 0;
        if (u < kept)
            sum = stretch_sum<T, N>(p, (const T *)p.x + dpt_offset(p.kept, 0, u), 0, summed, walk.lane, LANES);
        sum = dpt_lanes_sum<LANES>(sum);
        if (walk.lane == 0 && u < kept) dpt_scalar_write(p.y, p.y_dtype, u, sum);
    }
}

/* A block an output element, or a split of it. */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
    sum_block_kernel(const __grid_constant__ sum_plan p, const dpt_block *block) {
    const int64_t u = blockIdx.x / p.splits, summed = summed_of(p, block);
    if (u >= kept_of(p, block)) return;
    const int64_t begin = blockIdx.x % p.splits * p.split, end = begin + p.split < summed ? begin + p.split : summed;
    const T *x = (const T *)p.x + dpt_offset(p.kept, 0, u);
    double sum = dpt_block_sum(stretch_sum<T, N>(p, x, begin, end, (int)threadIdx.x, THREADS));
    if (p.splits > 1) {
        if (threadIdx.x == 0) p.partial[blockIdx.x] = sum;
        if (!dpt_last_block(&p.arrived[u], (unsigned)p.splits)) return;
        sum = 0;
        for (int s = (int)threadIdx.x; s < p.splits; s += THREADS) sum += __ldcg(&p.partial[u * p.splits + s]);
        sum = dpt_block_sum(sum);
    }
    if (threadIdx.x == 0) dpt_scalar_write(p.y, p.y_dtype, u, sum);
}

/* ---- the innermost dimension is kept ---- */

/* sum[i] = sum over g of sum[g * width + i], i < width; all threads of the block. */
__device__ inline void fold(double *sum, int width, int groups) {
    __syncthreads();
    while (groups > 1) {
        const int half = (groups + 1) / 2, count = (groups - half) * width;
        for (int i = (int)threadIdx.x; i < count; i += THREADS) sum[i] += sum[half * width + i];
        __syncthreads();
        groups = half;
    }
}

/* Adds AT_ONCE packs to a thread's columns; where a place is NULL there is none. */
template <typename T, int N>
__device__ __forceinline__ void columns_add(double column[N], const T *const place[AT_ONCE]) {
    typedef dpt_elements<T, N> pack;
    pack from[AT_ONCE] = {};
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
        if (place[k]) from[k] = *(const pack *)place[k];
    dpt_wide<T> some[N] = {};
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
#pragma unroll
        for (int j = 0; j < N; j++) some[j] += dpt_load(from[k].v[j]);
#pragma unroll
    for (int j = 0; j < N; j++) column[j] += (double)some[j];
}

/* Columns of a tile: a thread has N neighbouring ones, and every rows_at_once-th row of [begin, end). */
template <typename T, int N>
__device__ __forceinline__ void tile_sum(const sum_plan &p, const T *x, int64_t begin, int64_t end, int rows_at_once,
                                         double column[N]) {
    for (int64_t r = begin + threadIdx.x / p.lanes; r < end; r += AT_ONCE * rows_at_once) {
        const T *place[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int64_t row = r + k * rows_at_once;
            place[k] = row < end ? x + dpt_offset(p.summed, 0, row) : NULL;
        }
        columns_add<T, N>(column, place);
    }
}

/* The same for lines that are no whole packs, one after the other: a thread's packs lie `lanes` packs apart, a multiple
 * of the line, so that each of its N elements stays in one column. */
template <typename T, int N>
__device__ __forceinline__ void flat_sum(const sum_plan &p, const T *x, int64_t begin, int64_t end, double column[N]) {
    const int64_t step = (int64_t)p.lanes * N, count = end * p.line, whole = count - count % N;
    const int64_t mine = begin * p.line + threadIdx.x * N;
    for (int64_t e = mine; e < whole; e += AT_ONCE * step) {
        const T *place[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) place[k] = e + k * step < whole ? x + e + k * step : NULL;
        columns_add<T, N>(column, place);
    }
    /* the elements after the last whole pack belong to the thread whose next pack they begin */
    if (whole < mine || (whole - mine) % step != 0) return;
#pragma unroll
    for (int j = 0; j < N; j++)
        if (whole + j < count) column[j] += (double)dpt_load(x[whole + j]);
}

/* A block a tile of columns, or a split of its rows. */
template <typename T, int N, bool FLAT>
__global__ void __launch_bounds__(THREADS, 3)
    sum_tile_kernel(const __grid_constant__ sum_plan p, const dpt_block *block) {
    __shared__ double sum[THREADS * N];
    const int64_t item = blockIdx.x / p.splits, o = item / p.tiles, rows = summed_of(p, block);
    if (o * p.line >= kept_of(p, block)) return;
    const int first = (int)(item % p.tiles) * p.tile_width; /* column of the line */
    const int width = p.line - first < p.tile_width ? (int)(p.line - first) : p.tile_width;
    const int64_t begin = blockIdx.x % p.splits * p.split, end = begin + p.split < rows ? begin + p.split : rows;
    const int rows_at_once = FLAT ? 1 : THREADS / p.lanes, lane = (int)threadIdx.x % p.lanes;
    const T *x = (const T *)p.x + dpt_offset(p.kept, 0, o);
    double column[N] = {};
    if (FLAT) {
        if ((int)threadIdx.x < p.lanes) flat_sum<T, N>(p, x, begin, end, column);
    } else if ((int)threadIdx.x < rows_at_once * p.lanes && lane * N < width) {
        tile_sum<T, N>(p, x + first + lane * N, begin, end, rows_at_once, column);
    }
#pragma unroll
    for (int j = 0; j < N; j++) sum[threadIdx.x * N + j] = column[j];
    fold(sum, p.tile_width, FLAT ? p.lanes * N / p.tile_width : rows_at_once);
    if (p.splits > 1) {
        double *partial = p.partial + item * p.splits * p.tile_width;
        for (int c = (int)threadIdx.x; c < width; c += THREADS)
            partial[blockIdx.x % p.splits * p.tile_width + c] = sum[c];
        if (!dpt_last_block(&p.arrived[item], (unsigned)p.splits)) return;
        const int groups = p.tile_width < THREADS ? THREADS / p.tile_width : 1;
        for (int i = (int)threadIdx.x; i < groups * p.tile_width; i += THREADS) {
            double some = 0;
            if (i % p.tile_width < width)
#pragma unroll 4
                for (int s = i / p.tile_width; s < p.splits; s += groups)
                    some += __ldcg(&partial[s * p.tile_width + i % p.tile_width]);
            sum[i] = some;
        }
        fold(sum, p.tile_width, groups);
    }
    for (int c = (int)threadIdx.x; c < width; c += THREADS)
        dpt_scalar_write(p.y, p.y_dtype, o * p.line + first + c, sum[c]);
}

/* ---- sum: planning ---- */

/* Parts the input's dimensions; returns whether the innermost is kept. */
static bool loops_part(const dpt_call *call, dpt_loop *kept, dpt_loop *summed, bool *first_kept) {
    const dpt_operand *x = &call->in[0];
    dpt_loop loop = {}; /* operand 1 only keeps kept and summed dimensions apart */
    loop.operands = 2;
    dpt_loop_align(loop.step[0], x, x);
    int64_t stride = 1;
    for (int i = x->ndim - 1; i >= 0; i--) {
        if (call->attr.reduce.axes >> i & 1U) continue;
        loop.step[1][i] = stride;
        stride *= x->dim[i];
    }
    dpt_loop_finish(&loop, x);
    for (int i = 0; i < loop.ndim; i++) {
        dpt_loop *part = loop.step[1][i] ? kept : summed;
        part->length[part->ndim] = loop.length[i];
        part->step[0][part->ndim++] = loop.step[0][i];
    }
    *first_kept = loop.step[1][0] != 0;
    return loop.step[1][loop.ndim - 1] != 0;
}

static int64_t loop_count(const dpt_loop *loop, int ndim) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= loop->length[i];
    return n;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Splits each sum over `rows` so that the device is full some times over, if each gets `enough` rows; a split is a
 * multiple of `unit`. */
static void split_set(const dpt_call *call, sum_plan *p, int64_t rows, int64_t enough, int64_t unit) {
    const int64_t wanted = BLOCKS_EACH * (int64_t)dpt_cuda_device_of(call)->multiprocessors / p->sums;
    const int64_t splits = wanted <= 1 ? 1 : least(wanted, (rows + enough - 1) / enough);
    p->split = round_up((rows + splits - 1) / splits, unit);
    p->splits = (int)((rows + p->split - 1) / p->split);
}

/* Lines of whole packs are cut into tiles of TILE_PACKS threads or somewhat less; others are read flat, or where that
 * does not come round within a block, by elements. n: elements of a pack. */
static void tiles_set(const dpt_call *call, sum_plan *p, const dpt_loop *kept, const dpt_loop *summed, int64_t n,
                      int64_t rows) {
    p->line = kept->length[kept->ndim - 1];
    int64_t common = n;
    while (p->line % common != 0) common /= 2;
    const int64_t round = p->line / common; /* packs after which a line begins again with a pack */
    const int64_t outer = p->kept_count / p->line * (p->first_kept ? call->in[0].dim[0] : 1);
    const bool aligned = outer == 1 || p->summed_count * p->line % n == 0;
    p->form = common < n && round <= THREADS && summed->ndim == 1 && aligned ? SUM_FLAT : SUM_TILE;
    p->packs = p->form == SUM_FLAT || common == n;
    if (!p->packs) n = 1;
    const int64_t packs = p->form == SUM_FLAT ? round : p->line / n;
    p->tiles = p->form == SUM_FLAT ? 1 : (int)((packs + TILE_PACKS - 1) / TILE_PACKS);
    p->lanes = p->form == SUM_FLAT ? (int)(THREADS / round * round) : (int)((packs + p->tiles - 1) / p->tiles);
    p->tile_width = p->form == SUM_FLAT ? (int)p->line : p->lanes * (int)n;
    p->sums = outer * p->tiles;
    const int64_t at_once = p->form == SUM_FLAT ? p->lanes * n / p->line : THREADS / p->lanes;
    split_set(call, p, rows, 2 * AT_ONCE * at_once, n);
}

static dpt_status sum_prepare(dpt_call *call) {
    const dpt_operand *x = &call->in[0];
    sum_plan *p = (sum_plan *)dpt_alloc(sizeof *p);
    DPT_CHECK_ALLOC(p);
    call->plan = p;
    *p = sum_plan();
    dpt_loop kept = {}, summed = {};
    const bool inner_kept = loops_part(call, &kept, &summed, &p->first_kept);
    const int64_t n = 16 / (int64_t)dpt_dtype_size(x->dtype), capacity = x->axis < 0 ? 1 : x->dim[0];
    const bool tiles = inner_kept && summed.ndim > 0;
    p->axis = x->axis;
    p->y_dtype = call->out[0].dtype;
    p->kept_count = loop_count(&kept, kept.ndim);
    p->summed_count = loop_count(&summed, summed.ndim);
    p->kept = dpt_coordinates_of<1>(&kept);
    p->summed = dpt_coordinates_of<1>(&summed);
    p->splits = p->tile_width = 1;
    const int64_t rows = p->summed_count * (p->first_kept ? 1 : capacity);
    if (tiles) {
        p->kept.ndim--;
        tiles_set(call, p, &kept, &summed, n, rows);
    } else {
        const bool stretch = summed.ndim > 0 && summed.length[summed.ndim - 1] % n == 0;
        p->packs = stretch || (kept.ndim == 0 && summed.ndim == 1);
        p->form = rows <= SHORT_SUM ? SUM_LANES : rows <= WARP_SUM ? SUM_WARP : SUM_BLOCK;
        p->sums = p->kept_count * (p->first_kept ? capacity : 1);
        if (p->form == SUM_BLOCK) split_set(call, p, rows, 2 * WARP_SUM, n);
    }
    DPT_CHECK(p->sums * p->splits <= INT32_MAX, DPT_ERR_SHAPE, "sum \"%s\": %lld sums are too many", call->name,
              (long long)p->sums);
    if (p->splits == 1) return DPT_OK;
    call->workspace_bytes = (size_t)(p->sums * p->splits * p->tile_width) * sizeof(double);
    call->table_bytes = (size_t)p->sums * sizeof(unsigned);
    return DPT_OK;
}

static dpt_status sum_bind(dpt_call *call) {
    sum_plan *p = (sum_plan *)call->plan;
    p->x = call->in[0].data;
    p->y = call->out[0].data;
    p->partial = (double *)call->workspace;
    p->arrived = (unsigned *)call->table;
    if (p->splits == 1) return DPT_OK;
    return call->device->ops->zero(call->device, call->table, call->table_bytes, NULL);
}

template <typename T, int N>
static dpt_status sum_launch(dpt_call *call, dpt_stream *stream, const sum_plan &p) {
    const unsigned blocks = (unsigned)(p.sums * p.splits);
    switch (p.form) {
        case SUM_LANES:
            return DPT_LAUNCH((sum_lanes_kernel<T, N, 4>), dpt_map_blocks(p.sums * 4, THREADS), THREADS, 0, stream, p,
                              call->block);
        case SUM_WARP:
            return DPT_LAUNCH((sum_lanes_kernel<T, N, 32>), dpt_map_blocks(p.sums * 32, THREADS), THREADS, 0, stream, p,
                              call->block);
        case SUM_BLOCK: return DPT_LAUNCH((sum_block_kernel<T, N>), blocks, THREADS, 0, stream, p, call->block);
        case SUM_TILE: return DPT_LAUNCH((sum_tile_kernel<T, N, false>), blocks, THREADS, 0, stream, p, call->block);
        default:
            return DPT_LAUNCH((sum_tile_kernel<T, dpt_pack<T>::N, true>), blocks, THREADS, 0, stream, p, call->block);
    }
}

static dpt_status sum_run(dpt_call *call, dpt_stream *stream) {
    const sum_plan &p = *(const sum_plan *)call->plan;
    DPT_FOR_FLOAT(call->in[0].dtype, T, {
        if (p.packs) return sum_launch<T, dpt_pack<T>::N>(call, stream, p);
        return sum_launch<T, 1>(call, stream, p);
    });
    return DPT_OK;
}

static void sum_release(dpt_call *call) {
    dpt_free(call->plan);
    call->plan = NULL;
}

DPT_CUDA_KERNEL(sum, sum_prepare, sum_bind, sum_run, sum_release)

/* ---- broadcast: a copy that reads where map.cuh's loop says ---- */

DPT_CUDA_KERNEL(broadcast, NULL, NULL, dpt_cuda_spread, NULL)

/* ---- rows: the rows of the global batch, times per_row ---- */

__global__ void rows_kernel(void *y, dpt_dtype dtype, int axis, int64_t per_row, const dpt_block *block) {
    if (threadIdx.x == 0) dpt_scalar_write(y, dtype, 0, (double)block->global_rows[axis] * (double)per_row);
}

static dpt_status rows_run(dpt_call *call, dpt_stream *stream) {
    return DPT_LAUNCH(rows_kernel, 1, 32, 0, stream, call->out[0].data, call->out[0].dtype, call->attr.rows.axis,
                      call->attr.rows.per_row, call->block);
}

DPT_CUDA_KERNEL(rows, NULL, NULL, rows_run, NULL)
