# Batch norm, updates and losses, initialisers, schedules, the zoo.
dpt_add_test(norm)
dpt_add_test(update)
dpt_add_test(init)
dpt_add_test(schedule)
dpt_add_test(zoo)
