dpt_add_test(base)
dpt_add_test(length)
dpt_add_test(host_memory)
