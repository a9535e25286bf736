/* params_file.h: params.h5, format version 1: what training ends with and what eval and predict begin with. An HDF5
 * file (1.10 format) with one plain dataset for each parameter and each replicated state, under its name in the root
 * group, in its own dtype, little-endian, and shape, with the attribute kind = "parameter" or "state". Attributes of
 * the root: format = "params", format_version = 1, dptrain_version, config (YAML). The bytes depend on nothing else, so
 * equal training gives equal files.
 *
 *   dpt_params_entry e[] = {{"fc1.weight", DPT_PARAMS_PARAMETER, DPT_F32, 2, {10, 784}, weights}};
 *   DPT_TRY(dpt_params_file_write("params.h5", config_text, e, 1));
 *
 * All functions are local. A file is not trusted: links, external and virtual storage, filters, and sizes that the file
 * does not hold are refused. */
#ifndef DPT_TRAIN_PARAMS_FILE_H
#define DPT_TRAIN_PARAMS_FILE_H

#include <stdint.h>

#include "base/error.h"
#include "dptrain/types.h"

enum { DPT_PARAMS_FORMAT_VERSION = 1 };

typedef enum dpt_params_kind { DPT_PARAMS_PARAMETER = 0, DPT_PARAMS_STATE = 1 } dpt_params_kind;

typedef struct dpt_params_entry {
    const char *name; /* without "/" */
    dpt_params_kind kind;
    dpt_dtype dtype;
    int ndim; /* 0: one value */
    int64_t dim[DPT_MAX_NDIM];
    const void *data; /* to write, C order; NULL in what a file returns */
} dpt_params_entry;

typedef struct dpt_params_file dpt_params_file;

/* Writes a file whole: path.tmp, synchronised, renamed; on failure what stood at path still does.
 * DPT_ERR_ARG: a name that is empty, holds "/" or comes twice, or a bad shape. DPT_ERR_IO: with HDF5's or the system's
 * reason. */
dpt_status dpt_params_file_write(const char *path, const char *config, const dpt_params_entry *entries, int64_t count);

/* Opens a file and checks all but the values. DPT_ERR_IO: cannot be opened or read. DPT_ERR_DATA: not HDF5, truncated,
 * not a params file, or inconsistent. DPT_ERR_UNSUPPORTED: of a newer format version, or a dataset that is not plain.
 */
dpt_status dpt_params_file_open(const char *path, dpt_params_file **file);
void dpt_params_file_close(dpt_params_file **file);

/* Borrowed until the file is closed; entries in bytewise order of their names. */
const char *dpt_params_file_config(const dpt_params_file *file);
const char *dpt_params_file_version(const dpt_params_file *file); /* of dptrain that wrote it */
int64_t dpt_params_file_count(const dpt_params_file *file);
const dpt_params_entry *dpt_params_file_entry(const dpt_params_file *file, int64_t i);
/* NULL: no such name. */
const dpt_params_entry *dpt_params_file_find(const dpt_params_file *file, const char *name);

/* Reads the values of wanted->name into data. DPT_ERR_DATA: missing. DPT_ERR_SHAPE: another kind, dtype or shape than
 * wanted. DPT_ERR_IO: cannot be read. */
dpt_status dpt_params_file_read(const dpt_params_file *file, const dpt_params_entry *wanted, void *data);

#endif
