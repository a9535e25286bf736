# Products, linear layers, convolutions and pooling.
dpt_add_test(linear)
dpt_add_test(conv)
# Kernels in layouts other than the canonical one.
dpt_add_test(layout_kernels)
