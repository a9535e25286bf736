dpt_add_test(base)
