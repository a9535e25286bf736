# Looks for a CUDA toolkit (12.0 or newer) and settles what to compile for. The CUDA backend itself is a shared object of
# its own (cuda/), opened at run time. Without a toolkit everything works on CPU ranks; that is said once, here.
#
# DPTRAIN_CUDA_ARCHITECTURES: compute capabilities, as in "80;90"; code for each, and PTX of the newest for later ones.
# Sets DPTRAIN_CUDA_FOUND, DPTRAIN_CUDA_TOOLKIT (its version), DPTRAIN_CUDA_CODE (for CUDA_ARCHITECTURES) and
# DPTRAIN_CUDA_TEXT (for messages).
include(CheckLanguage)
set(DPTRAIN_CUDA_ARCHITECTURES "80;86;89;90;100;120" CACHE STRING "Compute capabilities that the CUDA backend is built for")
set(DPTRAIN_CUDA_FOUND OFF)
set(DPTRAIN_CUDA_TOOLKIT "")

# Takes out what this toolkit's compiler does not know: the default list is as long as the newest toolkit allows.
function(dptrain_known_architectures result)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE known OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(list)
  foreach(architecture IN LISTS DPTRAIN_CUDA_ARCHITECTURES)
    if(known MATCHES "compute_${architecture}(\n|$)")
      list(APPEND list ${architecture})
    else()
      message(STATUS "This CUDA compiler knows no compute capability ${architecture}: left out")
    endif()
  endforeach()
  if(NOT list)
    message(FATAL_ERROR "No entry of DPTRAIN_CUDA_ARCHITECTURES (${DPTRAIN_CUDA_ARCHITECTURES}) is known to "
      "${CMAKE_CUDA_COMPILER}; it knows: ${known}")
  endif()
  set(${result} ${list} PARENT_SCOPE)
endfunction()

if(NOT DPTRAIN_CUDA STREQUAL "OFF")
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_ARCHITECTURES OFF) # the backend's target names its own
    enable_language(CUDA)
    find_package(CUDAToolkit 12.0 REQUIRED)
    dptrain_known_architectures(architectures)
    list(TRANSFORM architectures APPEND -real OUTPUT_VARIABLE DPTRAIN_CUDA_CODE)
    list(GET architectures -1 newest)
    list(APPEND DPTRAIN_CUDA_CODE ${newest}-virtual)
    list(JOIN architectures ", " DPTRAIN_CUDA_TEXT)
    string(APPEND DPTRAIN_CUDA_TEXT " and newer")
    set(DPTRAIN_CUDA_FOUND ON)
    set(DPTRAIN_CUDA_TOOLKIT ${CUDAToolkit_VERSION})
    # where programs of the build folder find it; LD_LIBRARY_PATH goes first
    list(APPEND CMAKE_BUILD_RPATH ${PROJECT_BINARY_DIR}/cuda)
  elseif(DPTRAIN_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DPTRAIN_CUDA=ON, but no CUDA compiler was found (set CUDACXX, or DPTRAIN_CUDA=AUTO)")
  else()
    message(STATUS "No CUDA toolkit: building for CPU ranks only")
  endif()
endif()
