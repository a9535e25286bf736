/* layout_check.h: a look at a dataset's layout before HDF5 has one: some versions of it (1.10.8) divide by the size of
 * a chunk without asking whether it is 0, which ends the process. */
#ifndef DPT_DATA_LAYOUT_CHECK_H
#define DPT_DATA_LAYOUT_CHECK_H

#include "data/hdf5_util.h"

/* object: a path of hard links from an open file or group; it is not opened. What is not understood is left to HDF5.
 * Inside a dpt_h5_scope. Local. DPT_ERR_DATA: an axis of its chunks has size 0, or they have more or fewer axes than
 * the values. DPT_ERR_MEMORY. */
dpt_status dpt_layout_check(hid_t from, const char *object);

#endif
