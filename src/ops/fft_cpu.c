/* fft_cpu.c: Fourier transforms on the CPU by FFTW. A plan is for one transform and is run for each on its own memory,
 * so threads take transforms, and results do not depend on them. Plans are FFTW's estimates: no timing, the same choice
 * in every run. Invariant: FFTW's planner is used by one thread at a time.
 *
 * Before a transform back its input is copied, with the factors of fft.c, since FFTW may write there, and made
 * symmetric where a real result asks for it: at frequencies 0 and n/2 of the last dimension Y[k] becomes
 * (Y[k] + conj Y[-k]) / 2, which changes nothing in the sum of real parts, and without which a library may do what it
 * likes. */
#include <fftw3.h>
#include <pthread.h>
#include <string.h>

#include "backend/parallel.h"
#include "base/memory.h"
#include "ops/declare.h"

typedef struct fft_plan {
    fftw_plan f64;
    fftwf_plan f32;
    int64_t real, rows, half, last; /* values of one transform; rows of frequencies, their length; last size */
} fft_plan;

typedef struct fft_call {
    const fft_plan *plan;
    const dpt_fft_attr *a;
    void *real, *frequencies;
    void *copy; /* of the frequencies, for the way back */
} fft_call;

static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;

/* ---- plans ---- */

static void fft_release(dpt_call *call) {
    fft_plan *p = call->plan;
    if (p == NULL) return;
    pthread_mutex_lock(&planner);
    if (p->f64) fftw_destroy_plan(p->f64);
    if (p->f32) fftwf_destroy_plan(p->f32);
    pthread_mutex_unlock(&planner);
    dpt_free(p);
    call->plan = NULL;
}

/* With estimates, FFTW looks at the addresses and not at what is there. */
static void make_plan(fft_plan *p, const dpt_fft_attr *a, bool f64, bool back, void *real, void *frequencies) {
    const unsigned flags = FFTW_ESTIMATE | FFTW_UNALIGNED;
    int n[DPT_MAX_SPATIAL];
    for (int i = 0; i < a->dims; i++) n[i] = (int)a->n[DPT_MAX_SPATIAL - a->dims + i];
    pthread_mutex_lock(&planner);
    if (f64)
        p->f64 = back ? fftw_plan_dft_c2r(a->dims, n, frequencies, real, flags)
                      : fftw_plan_dft_r2c(a->dims, n, real, frequencies, flags);
    else
        p->f32 = back ? fftwf_plan_dft_c2r(a->dims, n, frequencies, real, flags)
                      : fftwf_plan_dft_r2c(a->dims, n, real, frequencies, flags);
    pthread_mutex_unlock(&planner);
}

static dpt_status prepare(dpt_call *call, bool back) {
    const dpt_fft_attr *a = &call->attr.fft;
    const bool f64 = call->in[0].dtype == DPT_F64;
    fft_plan *p = dpt_alloc_zero(1, sizeof *p);
    call->plan = p;
    DPT_CHECK_ALLOC(p);
    p->last = a->n[2];
    p->half = p->last / 2 + 1;
    p->rows = a->n[0] * a->n[1];
    p->real = p->rows * p->last;
    char *memory = dpt_alloc((size_t)(p->real + 2 * p->rows * p->half) * sizeof(double));
    if (memory) make_plan(p, a, f64, back, memory, memory + (size_t)p->real * sizeof(double));
    dpt_free(memory);
    if (p->f64 == NULL && p->f32 == NULL) {
        fft_release(call);
        return dpt_error(DPT_ERR_MEMORY, "%s: FFTW has no plan for %lld x %lld x %lld", call->name, (long long)a->n[0],
                         (long long)a->n[1], (long long)a->n[2]);
    }
    if (back) call->workspace_bytes = (size_t)call->in[0].count * dpt_dtype_size(call->in[0].dtype);
    return DPT_OK;
}

static dpt_status rfft_prepare(dpt_call *call) { return prepare(call, false); }
static dpt_status irfft_prepare(dpt_call *call) { return prepare(call, true); }

/* ---- factors ---- */

/* Whether frequency k of a last dimension of n is its own mirror. */
static inline bool is_single(int64_t k, int64_t n) { return k == 0 || 2 * k == n; }

/* Row number r of frequencies and the row of the opposite ones. */
static int64_t mirror_row(const dpt_fft_attr *a, int64_t r) {
    const int64_t k0 = r / a->n[1], k1 = r % a->n[1];
    return (a->n[0] - k0) % a->n[0] * a->n[1] + (a->n[1] - k1) % a->n[1];
}

#define FACTORS(T, forth, back, execute_forth, execute_back, complex, member)              \
    static void forth(void *context, int64_t begin, int64_t end) {                         \
        const fft_call *c = context;                                                       \
        const fft_plan *p = c->plan;                                                       \
        const T scale = (T)c->a->scale, twice = c->a->doubled ? 2 * scale : scale;         \
        for (int64_t i = begin; i < end; i++) {                                            \
            T *y = (T *)c->frequencies + i * 2 * p->rows * p->half;                        \
            execute_forth(p->member, (T *)c->real + i * p->real, (complex *)y);            \
            if (scale == 1 && twice == 1) continue;                                        \
            for (int64_t r = 0; r < p->rows; r++)                                          \
                for (int64_t k = 0; k < p->half; k++, y += 2) {                            \
                    const T factor = is_single(k, p->last) ? scale : twice;                \
                    y[0] *= factor, y[1] *= factor;                                        \
                }                                                                          \
        }                                                                                  \
    }                                                                                      \
    static void back##_row(const fft_call *c, const T *x, const T *mirror, T *y) {         \
        const fft_plan *p = c->plan;                                                       \
        const T scale = (T)c->a->scale, each = c->a->doubled ? scale : scale / 2;          \
        for (int64_t k = 0; k < 2 * p->half; k++) y[k] = each * x[k];                      \
        for (int64_t k = 0; k<p->half; k += p->last> 1 ? p->last / 2 : 1) {                \
            if (!is_single(k, p->last)) break;                                             \
            y[2 * k] = scale / 2 * (x[2 * k] + mirror[2 * k]);                             \
            y[2 * k + 1] = scale / 2 * (x[2 * k + 1] - mirror[2 * k + 1]);                 \
        }                                                                                  \
    }                                                                                      \
    static void back(void *context, int64_t begin, int64_t end) {                          \
        const fft_call *c = context;                                                       \
        const fft_plan *p = c->plan;                                                       \
        const int64_t row = 2 * p->half;                                                   \
        for (int64_t i = begin; i < end; i++) {                                            \
            const T *x = (const T *)c->frequencies + i * p->rows * row;                    \
            T *copy = (T *)c->copy + i * p->rows * row;                                    \
            for (int64_t r = 0; r < p->rows; r++)                                          \
                back##_row(c, x + r * row, x + mirror_row(c->a, r) * row, copy + r * row); \
            execute_back(p->member, (complex *)copy, (T *)c->real + i * p->real);          \
        }                                                                                  \
    }
FACTORS(float, forth_f32, back_f32, fftwf_execute_dft_r2c, fftwf_execute_dft_c2r, fftwf_complex, f32)
FACTORS(double, forth_f64, back_f64, fftw_execute_dft_r2c, fftw_execute_dft_c2r, fftw_complex, f64)
#undef FACTORS

/* ---- kernels ---- */

/* All transforms of the valid rows. */
static void run_all(const dpt_call *call, const dpt_operand *real, const dpt_operand *frequencies, dpt_range_fn f32,
                    dpt_range_fn f64) {
    enum { WORK = 16384 }; /* values from which another thread is worth its start */
    const fft_plan *p = call->plan;
    fft_call c = {p, &call->attr.fft, real->data, frequencies->data, call->workspace};
    dpt_parallel(call->device->threads, dpt_valid_count(call, real) / p->real, WORK / p->real + 1,
                 real->dtype == DPT_F64 ? f64 : f32, &c);
}

static dpt_status rfft_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    run_all(call, &call->in[0], &call->out[0], forth_f32, forth_f64);
    return DPT_OK;
}

static dpt_status irfft_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    run_all(call, &call->out[0], &call->in[0], back_f32, back_f64);
    return DPT_OK;
}

const dpt_kernel dpt_cpu_rfft = {.prepare = rfft_prepare, .run = rfft_run, .release = fft_release};
const dpt_kernel dpt_cpu_irfft = {.prepare = irfft_prepare, .run = irfft_run, .release = fft_release};
