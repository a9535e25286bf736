# The CUDA path. The backend as built for the CPU (hostcuda/) runs in the tests that name it with CUDA; the one built for
# GPUs is opened as a user without a GPU would.
dpt_add_test(device_cuda CUDA_ONLY CUDA 1 2 3)
dpt_add_test(comm_staged RANKS 1 2 4 CUDA 1 2)
dpt_add_test(cuda_product CUDA_ONLY CUDA 1)
dpt_add_test(cuda_conv CUDA_ONLY CUDA 1)
dpt_add_test(cuda_step SOURCES test_cuda_step.c trainer_pair.c CUDA_ONLY CUDA 1)
if(TARGET dptrain_cuda_host)
  add_cli_test(cli_cuda_host cuda_host)
endif()
if(TARGET dptrain_cuda)
  add_cli_test(cli_cuda cuda)
endif()
