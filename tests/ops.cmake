# Operations: gradients and parity by the table of samples, kernels by themselves, error messages, values from PyTorch.
dpt_add_test(ops SOURCES test_ops.c op_samples.c graph_run.c CUDA 1)
dpt_add_test(op_kernels CUDA 1)
dpt_add_test(op_errors)
dpt_add_test(golden SOURCES test_golden.c graph_run.c CUDA 1)
# 16-bit floats: formats, kernels, every op.
dpt_add_test(half SOURCES test_half.c op_samples.c graph_run.c CUDA 1)
