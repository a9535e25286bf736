# Products, linear layers, convolutions and pooling.
dpt_add_test(linear CUDA 1)
dpt_add_test(conv CUDA 1)
# Kernels in layouts other than the canonical one.
dpt_add_test(layout_kernels)
dpt_add_cuda_case(layout_kernels_cuda test_layout_kernels RANKS 1 WORDS reorders)
