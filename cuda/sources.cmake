# The sources of the CUDA backend: the plug-in (cuda/CMakeLists.txt) and the build of the same files for the CPU in the
# tests (tests/hostcuda) both read this list. Paths are absolute.
set(CUDA_SOURCES
  probe.cu
  elementwise.cu activation.cu reduce.cu shape.cu dropout.cu softmax.cu loss.cu update.cu trust.cu norm.cu collective.cu
  matmul.cu linear.cu conv.cu im2col.cu pool.cu reorder.cu loss_scaling.cu comm.cu occupy.cu)
set(CUDA_C_SOURCES
  device.c error.c host.c select.c peer.c table.c product.c product_trial.c dnn.c
  nccl.c comm_open.c comm.c comm_memory.c comm_end.c)
# of the library's own, compiled in again: the plug-in links nothing of it
set(CUDA_SHARED_SOURCES types.c clock.c text.c)
list(TRANSFORM CUDA_SHARED_SOURCES PREPEND ${CMAKE_CURRENT_LIST_DIR}/../src/base/)
list(APPEND CUDA_SHARED_SOURCES ${CMAKE_CURRENT_LIST_DIR}/../src/backend/collective.c)

foreach(list CUDA_SOURCES CUDA_C_SOURCES)
  list(TRANSFORM ${list} PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
endforeach()
