/* nccl.c: see nccl.h. A library that lacks a needed function is as good as none. */
#include "cuda/nccl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dpt_nccl nccl;
static bool available;
static char reason[512];

static const char remedy[] = "install it (package libnccl2, or module load nccl), or add its folder to LD_LIBRARY_PATH";

void dpt_nccl_version_text(int version, char *text, size_t bytes) {
    snprintf(text, bytes, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

/* The first function that is missing, NULL: none is. */
static const char *load_functions(void *object) {
    const char *missing = NULL;
    void *symbol;
#define LOAD(name, needed, parameters)                                \
    symbol = dlsym(object, "nccl" #name);                             \
    memcpy((void *)&nccl.name, (const void *)&symbol, sizeof symbol); \
    if (symbol == NULL && (needed) && missing == NULL) missing = "nccl" #name;
    DPT_NCCL_FUNCTIONS(LOAD)
    LOAD(GetErrorString, true, )
    LOAD(GetLastError, true, )
#undef LOAD
    return missing;
}

static void open_library(void) {
    const char *file = getenv("DPTRAIN_NCCL");
    char text[32];
    if (file == NULL || file[0] == 0) file = "libnccl.so.2";
    if (strcmp(file, "0") == 0) {
        snprintf(reason, sizeof reason, "DPTRAIN_NCCL=0 asks for none");
        return;
    }
    void *object = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        snprintf(reason, sizeof reason, "%.200s: %s", dlerror(), remedy);
        return;
    }
    const char *missing = load_functions(object);
    if (nccl.GetVersion == NULL || nccl.GetVersion(&nccl.version) != DPT_NCCL_SUCCESS) nccl.version = 0;
    dpt_nccl_version_text(nccl.version, text, sizeof text);
    available = missing == NULL && nccl.version >= DPT_NCCL_OLDEST;
    if (available) return;
    if (nccl.version >= DPT_NCCL_OLDEST)
        snprintf(reason, sizeof reason, "%.200s (%s) lacks %s: %s", file, text, missing, remedy);
    else
        snprintf(reason, sizeof reason, "%.200s is %s, and 2.19 or later is needed: %s", file, text, remedy);
}

const dpt_nccl *dpt_nccl_open(const char **why) {
    pthread_once(&once, open_library);
    if (why != NULL) *why = reason;
    return available ? &nccl : NULL;
}

void dpt_nccl_describe(char *text, size_t bytes) {
    const char *why;
    char version[32];
    const dpt_nccl *library = dpt_nccl_open(&why);
    if (library == NULL) {
        snprintf(text, bytes, "no NCCL (%s)", why);
        return;
    }
    dpt_nccl_version_text(library->version, version, sizeof version);
    snprintf(text, bytes, "NCCL %s", version);
}
