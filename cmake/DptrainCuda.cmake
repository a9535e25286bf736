# Looks for a CUDA toolkit. The CUDA backend itself is a shared object of its own (cuda/), opened at run time.
# Without a toolkit everything works on CPU ranks; that is said once, here.

include(CheckLanguage)
set(DPTRAIN_CUDA_FOUND OFF)
if(NOT DPTRAIN_CUDA STREQUAL "OFF")
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(DPTRAIN_CUDA_FOUND ON)
  elseif(DPTRAIN_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DPTRAIN_CUDA=ON, but no CUDA compiler was found (set CUDACXX, or DPTRAIN_CUDA=AUTO)")
  else()
    message(STATUS "No CUDA toolkit: building for CPU ranks only")
  endif()
endif()
