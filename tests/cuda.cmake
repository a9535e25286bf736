# The CUDA path. The backend as built for the CPU (hostcuda/) runs in the tests that name it with CUDA; the one built for
# GPUs is opened as a user without a GPU would.
dpt_add_test(device_cuda CUDA_ONLY CUDA 1 2 3)
dpt_add_test(comm_staged RANKS 1 2 4 CUDA 1 2)
dpt_add_test(cuda_product CUDA_ONLY CUDA 1)
dpt_add_test(cuda_conv CUDA_ONLY CUDA 1)
dpt_add_test(cuda_step SOURCES test_cuda_step.c trainer_pair.c CUDA_ONLY CUDA 1)
if(TARGET dptrain_cuda_host)
  add_cli_test(cli_cuda_host cuda_host)
  add_executable(where slurm/where.c ${PROJECT_SOURCE_DIR}/src/cli/exit_code.c)
  target_link_libraries(where PRIVATE dptrain_objects)
  add_cli_test(slurm ../slurm/run LABELS long) # as root, where Slurm is installed
  add_cli_test(cuda_curve cuda_curve LABELS long)
  # sanitizers and coverage make its many builds slow, and find nothing more
  if(NOT DPTRAIN_SANITIZE AND NOT DPTRAIN_COVERAGE)
    add_test(NAME cuda_mutants COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/hostcuda/mutants.sh)
    set_tests_properties(cuda_mutants PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 PROCESSORS 2 LABELS "cuda;long"
      ENVIRONMENT "${DPT_TEST_ENVIRONMENT};BUILD=${PROJECT_BINARY_DIR}")
  endif()
endif()
if(TARGET dptrain_cuda)
  add_cli_test(cli_cuda cuda)
  # the plug-in of a machine without cuDNN's headers: the same objects but for the wrapper
  add_library(cuda_without_cudnn OBJECT ${PROJECT_SOURCE_DIR}/cuda/dnn.c)
  target_compile_definitions(cuda_without_cudnn PRIVATE
    $<TARGET_PROPERTY:dptrain_cuda,COMPILE_DEFINITIONS> DPTRAIN_WITHOUT_CUDNN)
  target_include_directories(cuda_without_cudnn SYSTEM PRIVATE $<TARGET_PROPERTY:dptrain_cuda,INCLUDE_DIRECTORIES>)
  add_library(dptrain_cuda_without_cudnn MODULE
    $<FILTER:$<TARGET_OBJECTS:dptrain_cuda>,EXCLUDE,dnn\\.c\\.o$> $<TARGET_OBJECTS:cuda_without_cudnn>)
  set_target_properties(dptrain_cuda_without_cudnn PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(dptrain_cuda_without_cudnn PRIVATE CUDA::cudart CUDA::cublasLt ${CMAKE_DL_LIBS} m)
  target_link_options(dptrain_cuda_without_cudnn PRIVATE LINKER:--no-undefined)
endif()
