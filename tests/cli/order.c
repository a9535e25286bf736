/* order.c: writes which samples come at which place of each global batch, as the loader of each rank delivers them:
 * a line "epoch step position sample" a sample, into OUT.<rank>.
 *
 *   mpirun -np R order DATA.h5 OUT BATCH SEED THREADS EPOCHS */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/loader.h"

static dpt_status write_order(dpt_loader *loader, FILE *out) {
    for (;;) {
        const dpt_batch *batch;
        DPT_TRY(dpt_loader_next(loader, &batch));
        if (batch == NULL) return DPT_OK;
        for (int64_t i = 0; i < batch->rows; i++)
            fprintf(out, "%llu %llu %lld %llu\n", (unsigned long long)batch->epoch, (unsigned long long)batch->step,
                    (long long)(batch->first_row + i), (unsigned long long)batch->sample[i]);
        dpt_loader_release(loader);
    }
}

static dpt_status run(const dpt_control *control, char **argv) {
    dpt_dataset *dataset = NULL;
    dpt_loader *loader = NULL;
    const char *files[] = {argv[1]};
    const dpt_field_spec field = {.name = "y", .path = "/train/y", .dtype = DPT_I64, .ndim = 0};
    char path[1024];
    snprintf(path, sizeof path, "%s.%d", argv[2], control->rank);
    FILE *out = fopen(path, "w");
    dpt_status status = out ? DPT_OK : dpt_error(DPT_ERR_IO, "%s cannot be written", path);
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.shuffle = true;
    o.global_batch = atoll(argv[3]);
    o.seed = (uint64_t)atoll(argv[4]);
    o.threads = atoi(argv[5]);
    o.epochs = (uint64_t)atoll(argv[6]);
    o.rank = control->rank;
    o.world = control->world;
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    DPT_TRY_GOTO(dpt_dataset_open(control, files, 1, &field, 1, &dataset), fail);
    DPT_TRY_GOTO(dpt_loader_create(dataset, &o, &loader), fail);
    DPT_TRY_GOTO(write_order(loader, out), fail);
fail:
    dpt_loader_destroy(&loader);
    dpt_dataset_close(&dataset);
    if (out != NULL && fclose(out) != 0) status = DPT_ERR_IO;
    return status;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    dpt_control control;
    dpt_status status = dpt_control_open(&control, MPI_COMM_WORLD);
    if (status == DPT_OK && argc == 7) status = run(&control, argv);
    if (status != DPT_OK || argc != 7) {
        fprintf(stderr, "order: %s\n", argc == 7 ? dpt_last_error() : "six words are wanted");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    dpt_control_close(&control);
    MPI_Finalize();
    return 0;
}
