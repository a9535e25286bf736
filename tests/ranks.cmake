# Graph, passes, programs, trainer, communicator: alone and over ranks.
dpt_add_test(ranks SOURCES test_ranks.c trainer_pair.c RANKS 1 2 4 8)
