/* cufft.c: see fft.h. cuFFT is opened at run time, so that a program without transforms needs none of it: libcufft of
 * CUDA's major version, or the file that DPTRAIN_CUFFT names. */
#include "cuda/fft.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_include)
#if __has_include(<cufft.h>)
#include <cufft.h>
#define HAS_CUFFT 1
#endif
#endif

#ifndef HAS_CUFFT

dpt_status dpt_fft_plan_create(const dpt_fft_attr *attr, bool f64, bool back, int64_t count, dpt_fft_plan **plan,
                               size_t *workspace_bytes) {
    (void)attr, (void)f64, (void)back, (void)count, (void)workspace_bytes;
    *plan = NULL;
    return dpt_error(DPT_ERR_UNSUPPORTED, "Fourier transforms on the GPU need cuFFT, and this build knows none");
}

dpt_status dpt_fft_plan_run(const dpt_fft_plan *plan, void *from, void *to, void *workspace, dpt_stream *stream) {
    (void)plan, (void)from, (void)to, (void)workspace, (void)stream;
    return dpt_error(DPT_ERR_INTERNAL, "this build knows no cuFFT");
}

void dpt_fft_plan_destroy(dpt_fft_plan **plan) { *plan = NULL; }

#else

struct dpt_fft_plan {
    cufftHandle handle;
    cufftType type;
};

/* ---- the library ---- */

#define FUNCTIONS(X)          \
    X(cufftCreate)            \
    X(cufftSetAutoAllocation) \
    X(cufftMakePlanMany64)    \
    X(cufftSetWorkArea)       \
    X(cufftSetStream)         \
    X(cufftExecR2C)           \
    X(cufftExecC2R)           \
    X(cufftExecD2Z)           \
    X(cufftExecZ2D)           \
    X(cufftDestroy)

static struct {
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
#undef FIELD
} cufft;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char reason[320]; /* why there is none; empty: there is one */

/* The file that the user names, else the one that belongs to the header. */
static void *open_any(void) {
    const char *file = getenv("DPTRAIN_CUFFT");
    if (file && file[0]) return dlopen(file, RTLD_NOW | RTLD_LOCAL);
    char name[32];
    snprintf(name, sizeof name, "libcufft.so.%d", CUFFT_VER_MAJOR);
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

static void open_library(void) {
    void *object = open_any();
    if (object == NULL) {
        snprintf(reason, sizeof reason, "%.240s", dlerror());
        return;
    }
#define LOAD(name)                                                              \
    do {                                                                        \
        void *symbol = dlsym(object, #name);                                    \
        memcpy((void *)&cufft.name, (const void *)&symbol, sizeof symbol);      \
        if (symbol == NULL) snprintf(reason, sizeof reason, "it lacks " #name); \
    } while (0);
    FUNCTIONS(LOAD)
#undef LOAD
}

static dpt_status status_of(cufftResult code, const char *call) {
    if (code == CUFFT_SUCCESS) return DPT_OK;
    return dpt_error(code == CUFFT_ALLOC_FAILED ? DPT_ERR_MEMORY : DPT_ERR_DEVICE, "cuFFT: %s failed with status %d",
                     call, (int)code);
}
#define CUFFT(call) status_of(cufft.call, #call)

/* ---- plans ---- */

static dpt_status make(dpt_fft_plan *p, const dpt_fft_attr *attr, int64_t count, size_t *workspace_bytes) {
    long long n[DPT_MAX_SPATIAL];
    for (int i = 0; i < attr->dims; i++) n[i] = attr->n[DPT_MAX_SPATIAL - attr->dims + i];
    DPT_TRY(CUFFT(cufftSetAutoAllocation(p->handle, 0)));
    return CUFFT(
        cufftMakePlanMany64(p->handle, attr->dims, n, NULL, 1, 0, NULL, 1, 0, p->type, count, workspace_bytes));
}

dpt_status dpt_fft_plan_create(const dpt_fft_attr *attr, bool f64, bool back, int64_t count, dpt_fft_plan **plan,
                               size_t *workspace_bytes) {
    *plan = NULL;
    pthread_once(&once, open_library);
    DPT_CHECK(reason[0] == 0, DPT_ERR_UNSUPPORTED,
              "Fourier transforms on the GPU need cuFFT (%s): install it, or name its file in DPTRAIN_CUFFT", reason);
    dpt_fft_plan *p = dpt_alloc_zero(1, sizeof *p);
    DPT_CHECK_ALLOC(p);
    p->type = f64 ? (back ? CUFFT_Z2D : CUFFT_D2Z) : (back ? CUFFT_C2R : CUFFT_R2C);
    dpt_status status = CUFFT(cufftCreate(&p->handle));
    if (status != DPT_OK) {
        dpt_free(p);
        return status;
    }
    *plan = p;
    status = make(p, attr, count, workspace_bytes);
    if (status != DPT_OK) dpt_fft_plan_destroy(plan);
    return status;
}

dpt_status dpt_fft_plan_run(const dpt_fft_plan *plan, void *from, void *to, void *workspace, dpt_stream *stream) {
    DPT_TRY(CUFFT(cufftSetWorkArea(plan->handle, workspace)));
    DPT_TRY(CUFFT(cufftSetStream(plan->handle, stream->cuda)));
    switch (plan->type) {
        case CUFFT_R2C: return CUFFT(cufftExecR2C(plan->handle, from, to));
        case CUFFT_C2R: return CUFFT(cufftExecC2R(plan->handle, from, to));
        case CUFFT_D2Z: return CUFFT(cufftExecD2Z(plan->handle, from, to));
        default: return CUFFT(cufftExecZ2D(plan->handle, from, to));
    }
}

void dpt_fft_plan_destroy(dpt_fft_plan **plan) {
    if (*plan == NULL) return;
    cufft.cufftDestroy((*plan)->handle);
    dpt_free(*plan);
    *plan = NULL;
}

#endif
