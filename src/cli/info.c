/* info.c: dptrain info [layers]: the types of layers (docs/layers.md), or versions of what the program was built with
 * and runs with, and the devices it finds. Runs on a login node: without MPI started, without a GPU, a driver or CUDA's
 * libraries; what is missing is said. */
#include <hdf5.h>
#include <mpi.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/device_cpu.h"
#include "backend/topology.h"
#include "cli/cli.h"
#include "models/layer_list.h"
#include "ops/op_list.h"

static void show_mpi(void) {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n;
    MPI_Get_library_version(text, &n);
    text[strcspn(text, "\n,")] = 0;
    printf("mpi      %s\n", text);
}

#ifndef DPTRAIN_CUDA_TOOLKIT
#error "the build says which CUDA toolkit it found"
#endif

/* Lines of text, each after the label's column. */
static void show_lines(const char *label, const char *text) {
    while (*text) {
        size_t n = strcspn(text, "\n");
        printf("%-8s %.*s\n", label, (int)n, text);
        label = "";
        text += n + (text[n] == '\n');
    }
}

static void show_cuda(void) {
    char text[4096] = "";
    const dpt_backend *cuda;
    if (dpt_plugin_open("libdptrain_cuda.so", DPT_OP_COUNT, &cuda) != DPT_OK) {
        printf("cuda     none: %s\n", dpt_last_error());
        if (DPTRAIN_CUDA_TOOLKIT[0] == 0)
            printf("         dptrain was built without a CUDA toolkit\n");
        else
            printf(
                "         dptrain was built with CUDA %s: its libraries must be found when it runs (LD_LIBRARY_PATH)\n",
                DPTRAIN_CUDA_TOOLKIT);
        return;
    }
    dpt_status status = cuda->describe(text, sizeof text);
    show_lines("cuda", text);
    if (status != DPT_OK) printf("         %s\n", dpt_last_error());
}

/* Where GPUs, cores and network adapters stand. */
static void show_host(void) {
    char text[8192];
    dpt_topology *host;
    if (dpt_topology_open(NULL, true, &host) != DPT_OK) {
        printf("host     %s\n", dpt_last_error());
        return;
    }
    dpt_topology_text(host, text, sizeof text);
    show_lines("host", text);
    dpt_topology_close(&host);
}

dpt_status dpt_cli_info(dpt_cli *cli) {
    if (cli->argc > 0 && strcmp(cli->argv[0], "layers") == 0) {
        dpt_layers_reference(stdout);
        return DPT_OK;
    }
    unsigned major, minor, release;
    const dnnl_version_t *dnnl = dnnl_version();
    dpt_device cpu;
    printf("dptrain  %s (%s)\n", dpt_version(), __VERSION__);
    show_mpi();
    H5get_libversion(&major, &minor, &release);
    printf("hdf5     %u.%u.%u\n", major, minor, release);
    printf("onednn   %d.%d.%d\n", dnnl->major, dnnl->minor, dnnl->patch);
    DPT_TRY(dpt_cpu_device_open(NULL, cli->launch.threads, &cpu));
    printf("device   %s\n", cpu.name);
    show_cuda();
    printf("cores    %d\n", cli->launch.cores);
    show_host();
    return DPT_OK;
}
