/* im2col.cu: see im2col.h. With m = (sample, output position) and, for group j, the columns (k, c) of a filter [K,
 * C/g]:
 *
 *   windows[j][m][k,c] = x[n, p stride + k dilation - pad, j C/g + c], 0 outside of x
 *   y[j][m][o]     = windows[j] W[j]^T           W[j] is [O/g, (k,c)]
 *   windows[j]     = y[j] W[j], then x[n,q,c] = sum of the windows' elements that stand at q
 *   W[j][o][k,c]   = sum over m of y[j][m][o] windows[j][m][k,c]
 *
 * Everything is channels-last here: canonical operands are turned over in the workspace, and with groups y has its
 * groups first. Samples are taken in chunks whose windows fit a bounded workspace. Invariant: the order of every sum
 * depends on shapes alone; weight gradients are summed over chunks in f32 or f64. */
#include "cuda/im2col.h"

#include "cuda/product.h"
#include "cuda/stretch.cuh"
#include "cuda/transpose.cuh"

enum { THREADS = 256 };
static const int64_t WINDOW_BYTES = (int64_t)64 << 20;

struct dpt_im2col {
    dpt_im2col_conv conv;
    int64_t chunk;                                   /* samples at once */
    bool turn_x, turn_y, regroup, turn_w;            /* copies are needed */
    dpt_dtype columns, sum;                          /* types of the windows and of what the product gives */
    size_t windows, x, y, grouped, w, part, scratch; /* offsets in the workspace */
    dpt_call product[2];                             /* over whole chunks, and over the last, shorter one */
};

/* ---- sizes ---- */

struct window_shape {
    int in[3], out[3], kernel[3], stride[3], pad[3], dilation[3];
    int groups, channels; /* channels: of one group */
};

static window_shape window_shape_of(const dpt_conv_sizes &s) {
    window_shape w;
    for (int i = 0; i < 3; i++) {
        w.in[i] = (int)s.in[i], w.out[i] = (int)s.out[i], w.kernel[i] = (int)s.kernel[i];
        w.stride[i] = (int)s.stride[i], w.pad[i] = (int)s.pad[i], w.dilation[i] = (int)s.dilation[i];
    }
    w.groups = (int)s.groups;
    w.channels = (int)(s.in_channels / s.groups);
    return w;
}

static int64_t volume(const int64_t size[3]) { return size[0] * size[1] * size[2]; }
static int64_t x_row(const dpt_conv_sizes &s) { return s.in_channels * volume(s.in); }
static int64_t y_row(const dpt_conv_sizes &s) { return s.out_channels * volume(s.out); }
static int64_t filter(const dpt_conv_sizes &s) { return s.in_channels / s.groups * volume(s.kernel); }
static int64_t window_row(const dpt_conv_sizes &s) { return volume(s.out) * s.groups * filter(s); }

/* ---- kernels ---- */

/* windows[j][m][k][c] from x [n, q, j C/g + c], N channels a thread. */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
    windows_kernel(window_shape s, uint32_t samples, const T *x, T *windows, uint32_t items) {
    typedef dpt_elements<T, N> group;
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const int c = dpt_take(&rest, (uint32_t)(s.channels / N)) * N;
        int place[3];
        for (int i = 2; i >= 0; i--) place[i] = dpt_take(&rest, (uint32_t)s.kernel[i]) * s.dilation[i] - s.pad[i];
        for (int i = 2; i >= 0; i--) place[i] += dpt_take(&rest, (uint32_t)s.out[i]) * s.stride[i];
        const int n = dpt_take(&rest, samples), j = (int)rest;
        bool inside = true;
        size_t q = (size_t)n;
        for (int i = 0; i < 3; i++) {
            inside = inside && place[i] >= 0 && place[i] < s.in[i];
            q = q * (size_t)s.in[i] + (size_t)place[i];
        }
        group v;
#pragma unroll
        for (int k = 0; k < N; k++) v.v[k] = dpt_store<T>(0);
        const size_t channels = (size_t)s.groups * (size_t)s.channels;
        if (inside) v = *(const group *)(x + q * channels + (size_t)j * (size_t)s.channels + (size_t)c);
        ((group *)windows)[item] = v;
    }
}

/* x[n, q, j C/g + c] = sum over the kernel's positions k that reach q from an output position, in their order. */
template <typename W, typename T>
__global__ void __launch_bounds__(THREADS)
    overlap_kernel(window_shape s, uint32_t samples, const W *windows, T *x, uint32_t items) {
    const size_t taps = (size_t)(s.kernel[0] * s.kernel[1] * s.kernel[2]);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const size_t c = (size_t)dpt_take(&rest, (uint32_t)s.channels), j = (size_t)dpt_take(&rest, (uint32_t)s.groups);
        int q[3], k[3], p[3];
        for (int i = 2; i >= 0; i--) q[i] = dpt_take(&rest, (uint32_t)s.in[i]);
        const size_t n = (size_t)rest;
        dpt_wide<T> sum = 0;
        for (size_t tap = 0; tap < taps; tap++) {
            uint32_t left = (uint32_t)tap;
            bool reaches = true;
            for (int i = 2; i >= 0; i--) {
                k[i] = dpt_take(&left, (uint32_t)s.kernel[i]);
                const int from = q[i] + s.pad[i] - k[i] * s.dilation[i];
                p[i] = from / s.stride[i];
                reaches = reaches && from >= 0 && from % s.stride[i] == 0 && p[i] < s.out[i];
            }
            if (!reaches) continue;
            size_t m = j * samples + n;
            for (int i = 0; i < 3; i++) m = m * (size_t)s.out[i] + (size_t)p[i];
            sum += (dpt_wide<T>)windows[(m * taps + tap) * (size_t)s.channels + c];
        }
        x[item] = dpt_store<T>(sum);
    }
}

/* grouped[j][m][o] and y[m][j O/g + o], one to the other. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    regroup_kernel(T *grouped, T *y, bool to_groups, uint32_t rows, uint32_t groups, uint32_t channels) {
    const uint32_t items = rows * groups * channels;
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const size_t o = (size_t)dpt_take(&rest, channels), j = (size_t)dpt_take(&rest, groups);
        const size_t at = (j * rows + rest) * channels + o;
        if (to_groups)
            grouped[at] = y[item];
        else
            y[item] = grouped[at];
    }
}

template <typename W>
__global__ void __launch_bounds__(THREADS) add_kernel(const W *part, W *sum, int64_t count) {
    for (int64_t i = (int64_t)dpt_first_item(); i < count; i += (int64_t)dpt_item_step()) sum[i] += part[i];
}

/* ---- planning ---- */

static size_t take(size_t *workspace_bytes, int64_t bytes) {
    const size_t at = *workspace_bytes;
    *workspace_bytes += dpt_align((size_t)bytes);
    return at;
}

/* The product over `samples` samples, planned as a call of its own. */
static dpt_status open_product(const dpt_call *call, const dpt_im2col *p, int64_t samples, dpt_call *product) {
    const dpt_conv_sizes &s = p->conv.sizes;
    const int64_t m = samples * volume(s.out), o = s.out_channels / s.groups, columns = filter(s);
    dpt_cuda_product d = {};
    d.batch = s.groups;
    d.in = p->conv.in;
    d.out = p->sum;
    switch (p->conv.kind) {
        case DPT_CONV_FORWARD: d.m = m, d.n = o, d.k = columns, d.transpose_b = true; break;
        case DPT_CONV_DGRAD: d.m = m, d.n = columns, d.k = o; break;
        case DPT_CONV_WGRAD: d.m = o, d.n = columns, d.k = m, d.transpose_a = true; break;
    }
    *product = *call;
    product->plan = NULL;
    product->workspace_bytes = 0;
    return dpt_cuda_product_prepare(product, &d);
}

static dpt_status plan_make(const dpt_call *call, dpt_im2col *p, size_t *bytes) {
    const dpt_conv_sizes &s = p->conv.sizes;
    const dpt_conv_kind kind = p->conv.kind;
    const bool narrow = p->conv.in == DPT_BF16 || p->conv.in == DPT_F16;
    p->sum = narrow && kind != DPT_CONV_FORWARD ? DPT_F32 : p->conv.in;
    p->columns = kind == DPT_CONV_DGRAD ? p->sum : p->conv.in;
    const int64_t in = (int64_t)dpt_dtype_size(p->conv.in), sum = (int64_t)dpt_dtype_size(p->sum);
    const int64_t row = window_row(s), row_bytes = row * (int64_t)dpt_dtype_size(p->columns);
    int64_t longest = x_row(s) > y_row(s) ? x_row(s) : y_row(s);
    if (row > longest) longest = row;
    DPT_CHECK(longest <= INT32_MAX, DPT_ERR_UNSUPPORTED,
              "%lld elements in a sample or its windows: at most 2^31 without cuDNN", (long long)longest);
    p->chunk = WINDOW_BYTES / row_bytes;
    if (p->chunk > INT32_MAX / longest) p->chunk = INT32_MAX / longest;
    if (p->chunk > s.batch) p->chunk = s.batch;
    if (p->chunk < 1) p->chunk = 1;
    const bool one_channel = s.in_channels == 1, one_output = s.out_channels == 1;
    p->turn_x = !p->conv.x_last && !one_channel && volume(s.in) > 1;
    p->turn_y = !p->conv.y_last && !one_output && volume(s.out) > 1;
    p->regroup = s.groups > 1;
    p->turn_w = s.in_channels > s.groups && volume(s.kernel) > 1;
    const int64_t weights = s.out_channels * filter(s);
    *bytes = 0;
    p->windows = take(bytes, p->chunk * row_bytes);
    p->x = take(bytes, p->turn_x ? p->chunk * x_row(s) * in : 0);
    p->y = take(bytes, p->turn_y ? p->chunk * y_row(s) * in : 0);
    p->grouped = take(bytes, p->regroup ? p->chunk * y_row(s) * in : 0);
    p->w = take(bytes, weights * (kind == DPT_CONV_WGRAD ? sum : in));
    p->part = take(bytes, kind == DPT_CONV_WGRAD && p->chunk < s.batch ? weights * sum : 0);
    DPT_TRY(open_product(call, p, p->chunk, &p->product[0]));
    if (s.batch % p->chunk > 0) DPT_TRY(open_product(call, p, s.batch % p->chunk, &p->product[1]));
    const size_t scratch[2] = {p->product[0].workspace_bytes, p->product[1].workspace_bytes};
    p->scratch = take(bytes, (int64_t)(scratch[0] > scratch[1] ? scratch[0] : scratch[1]));
    return DPT_OK;
}

void dpt_im2col_close(dpt_im2col **plan) {
    if (*plan == NULL) return;
    for (int i = 0; i < 2; i++) dpt_cuda_product_release(&(*plan)->product[i]);
    dpt_free(*plan);
    *plan = NULL;
}

dpt_status dpt_im2col_open(const dpt_call *call, const dpt_im2col_conv *conv, dpt_im2col **plan,
                           size_t *workspace_bytes) {
    dpt_im2col *p = (dpt_im2col *)dpt_alloc_zero(1, sizeof *p);
    DPT_CHECK_ALLOC(p);
    p->conv = *conv;
    dpt_status status = plan_make(call, p, workspace_bytes);
    if (status != DPT_OK) dpt_im2col_close(&p);
    *plan = p;
    return status;
}

/* ---- running ---- */

/* One chunk in work: addresses of its part of each operand, and of what stands in the workspace. */
template <typename T, typename W>
struct chunk_run {
    const dpt_im2col *p;
    const dpt_call *call;
    dpt_stream *stream;
    int64_t samples;
    T *x, *y;
    char *workspace;

    T *x_work() const { return p->turn_x ? (T *)(workspace + p->x) : x; }
    T *y_work() const { return p->turn_y ? (T *)(workspace + p->y) : y; }
    T *y_product() const { return p->regroup ? (T *)(workspace + p->grouped) : y_work(); }

    /* Whole-chunk copies between layouts. */
    dpt_status turn(T *canonical, T *last, bool to_last, int64_t channels, int64_t plane) const {
        return to_last ? dpt_transpose<T, T>(call, canonical, last, samples, channels, plane, stream)
                       : dpt_transpose<T, T>(call, last, canonical, samples, plane, channels, stream);
    }

    dpt_status regroup(bool to_groups) const {
        const dpt_conv_sizes &s = p->conv.sizes;
        return DPT_LAUNCH((regroup_kernel<T>), dpt_blocks_for(call, samples * y_row(s), THREADS), THREADS, 0, stream,
                          (T *)(workspace + p->grouped), y_work(), to_groups, (uint32_t)(samples * volume(s.out)),
                          (uint32_t)s.groups, (uint32_t)(s.out_channels / s.groups));
    }

    template <int N>
    dpt_status windows_by() const {
        const uint32_t items = (uint32_t)(samples * window_row(p->conv.sizes) / N);
        return DPT_LAUNCH((windows_kernel<T, N>), dpt_blocks_for(call, items, THREADS), THREADS, 0, stream,
                          window_shape_of(p->conv.sizes), (uint32_t)samples, x_work(), (T *)(workspace + p->windows),
                          items);
    }

    dpt_status windows() const {
        const dpt_conv_sizes &s = p->conv.sizes;
        if (p->turn_x) DPT_TRY(turn(x, x_work(), true, s.in_channels, volume(s.in)));
        constexpr int N = dpt_pack<T>::N;
        return s.in_channels / s.groups % N == 0 ? windows_by<N>() : windows_by<1>();
    }

    dpt_status overlap() const {
        const dpt_conv_sizes &s = p->conv.sizes;
        const uint32_t items = (uint32_t)(samples * x_row(s));
        DPT_TRY(DPT_LAUNCH((overlap_kernel<W, T>), dpt_blocks_for(call, items, THREADS), THREADS, 0, stream,
                           window_shape_of(s), (uint32_t)samples, (const W *)(workspace + p->windows), x_work(),
                           items));
        return p->turn_x ? turn(x, x_work(), false, s.in_channels, volume(s.in)) : DPT_OK;
    }

    /* y as the product wants it, or from there to where it belongs. */
    dpt_status y_in() const {
        const dpt_conv_sizes &s = p->conv.sizes;
        if (p->turn_y) DPT_TRY(turn(y, y_work(), true, s.out_channels, volume(s.out)));
        return p->regroup ? regroup(true) : DPT_OK;
    }
    dpt_status y_out() const {
        const dpt_conv_sizes &s = p->conv.sizes;
        if (p->regroup) DPT_TRY(regroup(false));
        return p->turn_y ? turn(y, y_work(), false, s.out_channels, volume(s.out)) : DPT_OK;
    }

    dpt_status product(const void *a, const void *b, void *c) const {
        dpt_call of = p->product[samples == p->chunk ? 0 : 1];
        of.workspace = workspace + p->scratch;
        DPT_TRY(dpt_cuda_product_bind(&of, a, b, c, NULL));
        return dpt_cuda_product_run(&of, stream);
    }

    /* first: nothing is summed yet. */
    dpt_status run(const T *w, bool first) const {
        const dpt_conv_sizes &s = p->conv.sizes;
        void *columns = workspace + p->windows;
        if (p->conv.kind == DPT_CONV_FORWARD) {
            DPT_TRY(windows());
            DPT_TRY(product(columns, w, y_product()));
            return y_out();
        }
        DPT_TRY(y_in());
        if (p->conv.kind == DPT_CONV_DGRAD) {
            DPT_TRY(product(y_product(), w, columns));
            return overlap();
        }
        W *sum = (W *)(workspace + p->w), *part = first ? sum : (W *)(workspace + p->part);
        const int64_t count = s.out_channels * filter(s);
        DPT_TRY(windows());
        DPT_TRY(product(y_product(), columns, part));
        if (first) return DPT_OK;
        return DPT_LAUNCH((add_kernel<W>), dpt_blocks_for(call, count, THREADS), THREADS, 0, stream, part, sum, count);
    }
};

/* The sum [O, K, C/g] to its place [O, C/g, K]. */
template <typename W>
static dpt_status store_weights(const dpt_im2col *p, const dpt_call *call, const W *sum, void *w, dpt_stream *stream) {
    const dpt_conv_sizes &s = p->conv.sizes;
    DPT_FOR_FLOAT(p->conv.out, To,
                  return (dpt_transpose<W, To>(call, sum, (To *)w, s.out_channels, volume(s.kernel),
                                               s.in_channels / s.groups, stream)));
    return DPT_OK;
}

template <typename T>
static dpt_status run(const dpt_im2col *p, const dpt_call *call, T *x, void *w, T *y, char *workspace,
                      dpt_stream *stream) {
    typedef dpt_wide<T> W;
    const dpt_conv_sizes &s = p->conv.sizes;
    const bool wgrad = p->conv.kind == DPT_CONV_WGRAD;
    const T *filters = (const T *)w;
    if (p->turn_w && !wgrad) {
        T *turned = (T *)(workspace + p->w);
        DPT_TRY((dpt_transpose<T, T>(call, filters, turned, s.out_channels, s.in_channels / s.groups, volume(s.kernel),
                                     stream)));
        filters = turned;
    }
    for (int64_t first = 0; first < s.batch; first += p->chunk) {
        const int64_t left = s.batch - first;
        const chunk_run<T, W> chunk = {
            p, call, stream, left < p->chunk ? left : p->chunk, x + first * x_row(s), y + first * y_row(s), workspace};
        DPT_TRY(chunk.run(filters, first == 0));
    }
    return wgrad ? store_weights(p, call, (const W *)(workspace + p->w), w, stream) : DPT_OK;
}

dpt_status dpt_im2col_run(dpt_im2col *plan, const dpt_call *call, void *x, void *w, void *y, void *workspace,
                          dpt_stream *stream) {
    DPT_FOR_FLOAT(plan->conv.in, T, return run<T>(plan, call, (T *)x, w, (T *)y, (char *)workspace, stream));
    return DPT_OK;
}
