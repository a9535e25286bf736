# The sources of the CUDA backend: the plug-in (cuda/CMakeLists.txt) and the build of the same files for the CPU in the
# tests (tests/hostcuda) both read this list. Paths are absolute.
set(CUDA_SOURCES activation.cu arrange.cu choice.cu collective.cu comm.cu conv.cu dropout.cu elementwise.cu fft.cu
  functions.cu gather.cu im2col.cu linear.cu loss.cu loss_scaling.cu matmul.cu mix.cu norm.cu norm_reduce.cu occupy.cu
  pool.cu pool_move.cu probe.cu reduce.cu reorder.cu resample.cu row_norm.cu shape.cu softmax.cu trust.cu update.cu)
set(CUDA_C_SOURCES comm.c comm_end.c comm_memory.c comm_open.c cufft.c device.c dnn.c error.c host.c nccl.c peer.c
  product.c product_trial.c select.c table.c)
# of the library's own, compiled in again: the plug-in links nothing of it
set(CUDA_SHARED_SOURCES types.c clock.c text.c)
list(TRANSFORM CUDA_SHARED_SOURCES PREPEND ${CMAKE_CURRENT_LIST_DIR}/../src/base/)
list(APPEND CUDA_SHARED_SOURCES ${CMAKE_CURRENT_LIST_DIR}/../src/backend/collective.c
     ${CMAKE_CURRENT_LIST_DIR}/../src/backend/window.c)

foreach(list CUDA_SOURCES CUDA_C_SOURCES)
  list(TRANSFORM ${list} PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
endforeach()
