# Products, linear layers, convolutions and pooling.
dpt_add_test(linear)
dpt_add_test(conv)
