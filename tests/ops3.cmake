# Batch norm, updates and losses, initialisers, schedules, the zoo.
dpt_add_test(norm CUDA 1)
dpt_add_test(update CUDA 1)
dpt_add_test(init)
dpt_add_test(schedule)
dpt_add_test(zoo)
# What the device's kernels treat differently by size, type and layout.
dpt_add_test(cuda_map CUDA 1)
dpt_add_test(cuda_update CUDA 1)
dpt_add_test(cuda_rows CUDA 1)
