/* hdf5_util.h: how this library calls HDF5. Every call stands between dpt_h5_enter and dpt_h5_leave (one lock a
 * process: HDF5 serialises its calls anyway, and not every build of it may be called from several threads) and goes
 * through DPT_H5, which turns a negative result into a status with HDF5's innermost reason. Nothing is printed.
 *
 *   dpt_h5_scope scope;
 *   dpt_h5_enter(&scope);
 *   DPT_TRY_GOTO(DPT_H5(file = H5Fopen(path, H5F_ACC_RDONLY, access)), fail);
 *   ...
 *   dpt_h5_leave(&scope);
 *
 * Invariant: a scope is never entered twice by one thread. */
#ifndef DPT_DATA_HDF5_UTIL_H
#define DPT_DATA_HDF5_UTIL_H

#define H5_USE_110_API
#include <hdf5.h>
#include <stdint.h>

#include "base/error.h"
#include "dptrain/types.h"

typedef struct dpt_h5_scope {
    H5E_auto2_t print; /* the caller's error printing, put back by leave */
    void *print_data;
} dpt_h5_scope;

/* The first entry of a process keeps HDF5 from running at exit (it crashes there after a full disk) and from loading
 * plug-ins (a file could name one). Local. */
void dpt_h5_enter(dpt_h5_scope *scope);
void dpt_h5_leave(const dpt_h5_scope *scope);

/* DPT_OK for result >= 0, else DPT_ERR_IO with the call and HDF5's innermost reason. Local. */
dpt_status dpt_h5_status(int64_t result, const char *call);
#define DPT_H5(call) dpt_h5_status((int64_t)(call), #call)

/* HDF5's innermost reason of the last failure on this thread; "" if there is none. Local. */
void dpt_h5_reason(char *text, size_t bytes);

/* Opens a file for reading, without file locking. Fails with DPT_ERR_IO (system reason: missing, no permission) or
 * DPT_ERR_DATA (not an HDF5 file; truncated, with both sizes). Inside a scope. Local. */
dpt_status dpt_h5_open(const char *path, hid_t *file);
/* The same with the caller's file access properties (borrowed), where a driver may be chosen. */
dpt_status dpt_h5_open_with(const char *path, hid_t access, hid_t *file);

/* The type in memory of a dtype. Borrowed from HDF5. */
hid_t dpt_h5_type(dpt_dtype dtype);

/* These take -1 (nothing open) and leave the thread's message alone. */
void dpt_h5_close_file(hid_t file);
void dpt_h5_close_dataset(hid_t dataset);
void dpt_h5_close_space(hid_t space);
void dpt_h5_close_properties(hid_t properties);

#endif
