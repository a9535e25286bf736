/* info.c: dptrain info: versions of what the program was built with and runs with, and the devices it finds. Runs on a
 * login node: without MPI started, without a GPU. */
#include <hdf5.h>
#include <mpi.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/device_cpu.h"
#include "cli/cli.h"
#include "ops/op_list.h"

static void show_mpi(void) {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n;
    MPI_Get_library_version(text, &n);
    text[strcspn(text, "\n,")] = 0;
    printf("mpi      %s\n", text);
}

dpt_status dpt_cli_info(dpt_cli *cli) {
    unsigned major, minor, release;
    const dnnl_version_t *dnnl = dnnl_version();
    dpt_device cpu;
    const dpt_backend *cuda;
    printf("dptrain  %s (%s)\n", dpt_version(), __VERSION__);
    show_mpi();
    H5get_libversion(&major, &minor, &release);
    printf("hdf5     %u.%u.%u\n", major, minor, release);
    printf("onednn   %d.%d.%d\n", dnnl->major, dnnl->minor, dnnl->patch);
    DPT_TRY(dpt_cpu_device_open(NULL, cli->launch.threads, &cpu));
    printf("device   %s\n", cpu.name);
    if (dpt_plugin_open("libdptrain_cuda.so", DPT_OP_COUNT, &cuda) == DPT_OK)
        printf("cuda     %s\n", cuda->name);
    else
        printf("cuda     none: %s\n", dpt_last_error());
    printf("cores    %d\n", cli->launch.cores);
    return DPT_OK;
}
