/* fft.cu: the wrapper of cuFFT (cuda/fft.h) on the CPU: transforms by their sums, queued as a kernel of one thread, so
 * that they wait, replay and fault as the device's would. As cuFFT does, the way back spoils its input. */
#include "cuda/fft.h"

#include <math.h>
#include <string.h>

#include "cuda/launch.h"

enum { WORKSPACE_BYTES = 512 }; /* asked for, to be filled: whoever gives less is found out */

struct dpt_fft_plan {
    dpt_fft_attr attr;
    int64_t count;
    bool f64, back;
};

/* The angle of frequency number k (of n0 n1 half) at value number j (of n0 n1 n2). */
static double angle(const dpt_fft_attr &a, int64_t half, int64_t k, int64_t j) {
    const int64_t kk[3] = {k / half / a.n[1], k / half % a.n[1], k % half};
    const int64_t jj[3] = {j / a.n[2] / a.n[1], j / a.n[2] % a.n[1], j % a.n[2]};
    double turns = 0;
    for (int d = 0; d < 3; d++) turns += (double)(kk[d] * jj[d] % a.n[d]) / (double)a.n[d];
    return 2 * M_PI * turns;
}

template <typename T>
__global__ void forth_kernel(dpt_fft_plan p, const T *x, T *y, char *workspace) {
    const int64_t half = p.attr.n[2] / 2 + 1, rows = p.attr.n[0] * p.attr.n[1], n = rows * p.attr.n[2];
    memset(workspace, 0xff, WORKSPACE_BYTES);
    for (int64_t t = 0; t < p.count; t++)
        for (int64_t k = 0; k < rows * half; k++) {
            double re = 0, im = 0;
            for (int64_t j = 0; j < n; j++) {
                const double at = angle(p.attr, half, k, j);
                re += (double)x[t * n + j] * cos(at), im -= (double)x[t * n + j] * sin(at);
            }
            y[2 * (t * rows * half + k)] = (T)re, y[2 * (t * rows * half + k) + 1] = (T)im;
        }
}

template <typename T>
__global__ void back_kernel(dpt_fft_plan p, T *y, T *x, char *workspace) {
    const int64_t half = p.attr.n[2] / 2 + 1, rows = p.attr.n[0] * p.attr.n[1], n = rows * p.attr.n[2];
    memset(workspace, 0xff, WORKSPACE_BYTES);
    for (int64_t t = 0; t < p.count; t++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < rows * half; k++) {
                const T *at = y + 2 * (t * rows * half + k);
                const double turn = angle(p.attr, half, k, j), times = k % half == 0 || 2 * (k % half) == p.attr.n[2] ? 1 : 2;
                sum += times * ((double)at[0] * cos(turn) - (double)at[1] * sin(turn));
            }
            x[t * n + j] = (T)sum;
        }
    memset((void *)y, 0xff, (size_t)(2 * p.count * rows * half) * sizeof(T));
}

dpt_status dpt_fft_plan_create(const dpt_fft_attr *attr, bool f64, bool back, int64_t count, dpt_fft_plan **plan,
                               size_t *workspace_bytes) {
    *plan = (dpt_fft_plan *)dpt_alloc_zero(1, sizeof **plan);
    DPT_CHECK_ALLOC(*plan);
    **plan = {*attr, count, f64, back};
    *workspace_bytes = WORKSPACE_BYTES;
    return DPT_OK;
}

template <typename T>
static dpt_status queue(const dpt_fft_plan *plan, void *from, void *to, void *workspace, dpt_stream *stream) {
    if (plan->back) return DPT_LAUNCH(back_kernel<T>, 1, 1, 0, stream, *plan, (T *)from, (T *)to, (char *)workspace);
    return DPT_LAUNCH(forth_kernel<T>, 1, 1, 0, stream, *plan, (const T *)from, (T *)to, (char *)workspace);
}

dpt_status dpt_fft_plan_run(const dpt_fft_plan *plan, void *from, void *to, void *workspace, dpt_stream *stream) {
    if (plan->f64) return queue<double>(plan, from, to, workspace, stream);
    return queue<float>(plan, from, to, workspace, stream);
}

void dpt_fft_plan_destroy(dpt_fft_plan **plan) {
    dpt_free(*plan);
    *plan = NULL;
}
