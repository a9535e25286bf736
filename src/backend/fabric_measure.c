/* fabric_measure.c: see fabric_measure.h.
 *
 * A file of the cache is one line, "dptrain-fabric 1 LATENCY_S BANDWIDTH CHECK", its name a digest of what the figures
 * depend on, names of hosts left out, so that the next job of a queue finds it on other nodes. What cannot be read is
 * measured again. Invariant: all ranks leave with rank 0's figures, since bucket sizes follow from them. */
#include "backend/fabric_measure.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/comm_emulated.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"

static const size_t sizes[] = {4 << 10, 32 << 10, 256 << 10, 2 << 20, 16 << 20}; /* bytes */
enum { SIZES = sizeof sizes / sizeof sizes[0], REPEATS = 5, FEWEST_SIZES = 3 };
static const double limit_s = 0.5;

/* ---- the line through the points ---- */

/* Weights 1/seconds^2: minimises sum ((a + b n_i)/t_i - 1)^2 over a, b. */
void dpt_fabric_fit(const double *bytes, const double *seconds, int n, dpt_fabric *fabric) {
    double w = 0, wx = 0, wxx = 0, wy = 0, wxy = 0;
    for (int i = 0; i < n; i++) {
        double v = 1 / (seconds[i] * seconds[i]);
        w += v;
        wx += v * bytes[i];
        wxx += v * bytes[i] * bytes[i];
        wy += v * seconds[i];
        wxy += v * bytes[i] * seconds[i];
    }
    double determinant = w * wxx - wx * wx;
    double a = (wxx * wy - wx * wxy) / determinant, b = (w * wxy - wx * wy) / determinant;
    if (!(a >= 0)) { /* through the origin */
        a = 0;
        b = wxy / wxx;
    }
    if (!(b > 1e-16)) { /* nothing grows: as if the largest took its latency again for its bytes */
        a = wy / w;
        b = a / bytes[n - 1];
    }
    *fabric = (dpt_fabric){.latency_s = a, .bandwidth = 1 / b};
}

/* ---- measuring ---- */

/* The shortest of some: what the fabric takes when nothing else goes on. */
static dpt_status time_size(dpt_device *device, dpt_comm *comm, void *data, size_t bytes, dpt_stream *stream,
                            double *shortest_s) {
    *shortest_s = INFINITY;
    for (int i = 0; i <= REPEATS; i++) { /* the first connects */
        double begin_s = dpt_clock_s();
        DPT_TRY(dpt_comm_run(comm, DPT_ALL_REDUCE, data, bytes / sizeof(float), DPT_F32, stream));
        DPT_TRY(device->ops->stream_sync(device, stream));
        double took_s = fmax(dpt_clock_s() - begin_s, 1e-9);
        if (i > 0 && took_s < *shortest_s) *shortest_s = took_s;
    }
    return DPT_OK;
}

static dpt_status time_sizes(const dpt_control *control, dpt_device *device, dpt_comm *comm, void *data,
                             dpt_stream *stream, dpt_fabric *fabric) {
    double bytes[SIZES], seconds[SIZES], begin_s = dpt_clock_s();
    int n = 0;
    for (bool go = true; go && n < SIZES; n++) {
        bytes[n] = (double)sizes[n];
        DPT_TRY(time_size(device, comm, data, sizes[n], stream, &seconds[n]));
        double next_s = n + 1 < SIZES ? seconds[n] * (double)(sizes[n + 1] / sizes[n]) * (REPEATS + 1) : 0;
        go = n + 1 < FEWEST_SIZES || dpt_clock_s() - begin_s + next_s <= limit_s;
        DPT_TRY(dpt_control_broadcast(control, &go, sizeof go, 0));
    }
    dpt_fabric_fit(bytes, seconds, n, fabric);
    return dpt_control_broadcast(control, fabric, sizeof *fabric, 0);
}

dpt_status dpt_fabric_measure(const dpt_control *control, dpt_device *device, dpt_comm *comm, dpt_fabric *fabric) {
    void *data = NULL;
    dpt_stream *stream = NULL;
    dpt_status status = device->ops->alloc(device, sizes[SIZES - 1], DPT_FOR_COMM, &data);
    if (status == DPT_OK) status = device->ops->stream_create(device, 0, &stream);
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    DPT_TRY_GOTO(time_sizes(control, device, comm, data, stream, fabric), fail);
    snprintf(fabric->name, sizeof fabric->name, "measured");
fail:
    if (stream) device->ops->stream_destroy(device, stream);
    if (data) device->ops->release(device, data, sizes[SIZES - 1], DPT_FOR_COMM);
    return status;
}

/* ---- the cache ---- */

static dpt_status make_key(const dpt_control *control, const dpt_device *device, const dpt_comm *comm, uint64_t *key) {
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0, local = control->local_world;
    int *all = dpt_alloc_zero((size_t)control->world, sizeof *all);
    DPT_TRY(dpt_control_agree(control, all ? DPT_OK : DPT_ERR_MEMORY));
    dpt_status status = dpt_control_gather(control, &local, sizeof local, all);
    dpt_digest d = {0};
    for (int i = 0; i < control->world; i++) dpt_digest_i64(&d, all[i]);
    dpt_free(all);
    MPI_Get_library_version(version, &length);
    dpt_digest_text(&d, version);
    dpt_digest_text(&d, device->model[0] ? device->model : device->name);
    dpt_digest_text(&d, comm->name);
    *key = d.value;
    return status;
}

static bool cache_path(uint64_t key, char *path, size_t bytes) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && cache[0] ? snprintf(path, bytes, "%s", cache)
                              : snprintf(path, bytes, "%s/.cache", home ? home : "/tmp");
    for (int part = 0; part < 2; part++) {
        if (n < 0 || (size_t)n + 64 > bytes) return false;
        mkdir(path, 0777); /* a failure shows when the file is written */
        n += snprintf(path + n, bytes - (size_t)n, part == 0 ? "/dptrain" : "/fabric-%016" PRIx64 ".txt", key);
    }
    return true;
}

static size_t format_line(uint64_t key, const dpt_fabric *fabric, char *line, size_t bytes) {
    int n = snprintf(line, bytes, "dptrain-fabric 1 %.9g %.9g ", fabric->latency_s, fabric->bandwidth);
    n += snprintf(line + n, bytes - (size_t)n, "%016" PRIx64 "\n", dpt_hash(line, (size_t)n, key));
    return (size_t)n;
}

/* A line that is not exactly what would be written for its own numbers is not believed. */
static bool read_line(uint64_t key, const char *line, dpt_fabric *fabric) {
    char again[128];
    *fabric = (dpt_fabric){0};
    if (sscanf(line, "dptrain-fabric 1 %lf %lf", &fabric->latency_s, &fabric->bandwidth) != 2) return false;
    bool sane = fabric->latency_s >= 0 && fabric->latency_s < 10 && fabric->bandwidth > 1 && fabric->bandwidth < 1e18;
    if (!sane) return false;
    format_line(key, fabric, again, sizeof again);
    return strcmp(line, again) == 0;
}

static bool read_cache(uint64_t key, dpt_fabric *fabric) {
    char path[4096], line[128] = "";
    if (!cache_path(key, path, sizeof path)) return false;
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    bool known = fgets(line, sizeof line, file) != NULL && read_line(key, line, fabric);
    fclose(file);
    if (known) snprintf(fabric->name, sizeof fabric->name, "from an earlier job");
    if (!known) dpt_log(DPT_LOG_DEBUG, "%s cannot be used: measured again", path);
    return known;
}

static void write_cache(uint64_t key, const dpt_fabric *fabric) {
    char path[4096], line[128];
    if (!cache_path(key, path, sizeof path)) return;
    size_t bytes = format_line(key, fabric, line, sizeof line);
    if (dpt_file_write(path, line, bytes) != DPT_OK) dpt_log(DPT_LOG_DEBUG, "%s", dpt_last_error());
}

dpt_status dpt_fabric_find(const dpt_control *control, dpt_device *device, dpt_comm *comm, dpt_fabric *fabric) {
    struct {
        dpt_fabric fabric;
        bool known;
    } found = {.known = false};
    uint64_t key;
    if (dpt_emulated_comm_fabric(comm)) {
        *fabric = *dpt_emulated_comm_fabric(comm);
        snprintf(fabric->name, sizeof fabric->name, "emulated");
        return DPT_OK;
    }
    DPT_TRY(make_key(control, device, comm, &key));
    if (control->rank == 0) found.known = read_cache(key, &found.fabric);
    DPT_TRY(dpt_control_broadcast(control, &found, sizeof found, 0));
    *fabric = found.fabric;
    if (found.known) return DPT_OK;
    DPT_TRY(dpt_fabric_measure(control, device, comm, fabric));
    if (control->rank == 0) write_cache(key, fabric);
    return DPT_OK;
}
