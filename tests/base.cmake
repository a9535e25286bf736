dpt_add_test(base)
dpt_add_test(length)
