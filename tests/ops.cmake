# Operations: gradients and parity by the samples of every op, kernels by themselves, error messages, values from
# PyTorch; 16-bit floats: formats, kernels, every op. A family of samples is a file; op_samples.c lists the families.
set(SAMPLES op_samples.c samples/arrange.c samples/choice.c samples/conv.c samples/functions.c samples/loss.c
  samples/math.c samples/norm.c samples/pool.c samples/products.c samples/spectral.c)
dpt_add_test(ops SOURCES test_ops.c ${SAMPLES} graph_run.c CUDA 1)
dpt_add_test(half SOURCES test_half.c ${SAMPLES} graph_run.c CUDA 1)
dpt_add_test(op_kernels CUDA 1)
dpt_add_test(op_errors)
dpt_add_test(functions SOURCES test_functions.c graph_run.c CUDA 1)
dpt_add_test(golden SOURCES test_golden.c graph_run.c CUDA 1)
# Products, linear layers, convolutions and pooling.
dpt_add_test(linear CUDA 1)
dpt_add_test(conv CUDA 1)
dpt_add_test(conv_volume CUDA 1)
# Kernels in layouts other than the canonical one.
dpt_add_test(layout_kernels)
dpt_add_cuda_case(layout_kernels_cuda test_layout_kernels RANKS 1 WORDS reorders windows)
# Batch norm, updates and losses, initialisers, schedules, the zoo.
dpt_add_test(norm CUDA 1)
dpt_add_test(norm_golden CUDA 1)
dpt_add_test(norm_fused CUDA 1)
dpt_add_test(row_norm SOURCES test_row_norm.c graph_run.c CUDA 1)
dpt_add_test(update CUDA 1)
dpt_add_test(init)
dpt_add_test(schedule)
dpt_add_test(measures RANKS 1 2 CUDA 1)
dpt_add_test(zoo)
dpt_add_test(resnet SOURCES test_resnet.c trainer_pair.c LABELS long)
dpt_add_test(layers)
target_compile_definitions(test_layers PRIVATE DPT_LAYERS_REFERENCE="${PROJECT_SOURCE_DIR}/docs/layers.md")
dpt_add_test(zoo_values LABELS long CUDA 1)
# What the device's kernels treat differently by size, type and layout.
dpt_add_test(cuda_map CUDA 1)
dpt_add_test(cuda_update CUDA 1)
dpt_add_test(cuda_rows CUDA 1)
# Pooling and resampling against PyTorch.
dpt_add_test(pool SOURCES test_pool.c graph_run.c CUDA 1)
# Fourier transforms and the models made of them.
dpt_add_test(spectral SOURCES test_spectral.c graph_run.c CUDA 1)
# The other side of launch/bench-conv.sh, built when it is asked for.
add_executable(onednn_conv EXCLUDE_FROM_ALL peers/onednn_conv.c)
target_compile_definitions(onednn_conv PRIVATE _POSIX_C_SOURCE=200809L)
target_link_libraries(onednn_conv PRIVATE DNNL::dnnl)
