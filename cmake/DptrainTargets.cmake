# What everything is compiled with: dptrain_flags (warnings, sanitizers) and dptrain_dependencies (libraries).

# under a sanitizer what is compiled sooner is also done sooner
set(speed -O3)
if(DPTRAIN_SANITIZE)
  set(speed -O1)
endif()
add_library(dptrain_flags INTERFACE)
target_compile_options(dptrain_flags INTERFACE
  -fno-math-errno -fno-trapping-math # so that square roots and choices vectorise
  $<$<NOT:$<CONFIG:Debug>>:${speed}>
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
  $<$<BOOL:${DPTRAIN_WERROR}>:-Werror>)
# Attributes of operations are hashed as bytes (graph/digest.c), so what an initialiser leaves out of them is 0. gcc 15
# does that when asked; gcc before it always, for a union that is larger than the member named.
include(CheckCCompilerFlag)
check_c_compiler_flag(-fzero-init-padding-bits=all DPTRAIN_ZEROES_PADDING)
if(DPTRAIN_ZEROES_PADDING)
  target_compile_options(dptrain_flags INTERFACE -fzero-init-padding-bits=all)
endif()
target_compile_definitions(dptrain_flags INTERFACE _GNU_SOURCE DPTRAIN_VERSION="${PROJECT_VERSION}")
if(DPTRAIN_SANITIZE)
  target_compile_options(dptrain_flags INTERFACE -fsanitize=${DPTRAIN_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(dptrain_flags INTERFACE -fsanitize=${DPTRAIN_SANITIZE})
  # what gcc suspects at -O1; the optimised build looks for the same
  target_compile_options(dptrain_flags INTERFACE
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  # function multiversioning resolves before the sanitizers have started
  target_compile_definitions(dptrain_flags INTERFACE DPT_NO_MULTIVERSION)
endif()
if(DPTRAIN_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "DPTRAIN_FUZZ=ON needs clang (CC=clang), which has libFuzzer")
  endif()
  # clang says which loops it does not vectorise, and takes enumerations for unsigned: gcc's builds hold the warnings
  target_compile_options(dptrain_flags INTERFACE -fsanitize=fuzzer-no-link -Wno-pass-failed -Wno-sign-conversion
    -Wno-float-conversion)
endif()
if(DPTRAIN_COVERAGE)
  target_compile_options(dptrain_flags INTERFACE --coverage)
  target_link_options(dptrain_flags INTERFACE --coverage)
endif()

add_library(dptrain_dependencies INTERFACE)
target_include_directories(dptrain_dependencies SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR})
target_link_libraries(dptrain_dependencies INTERFACE
  MPI::MPI_C HDF5::HDF5 DNNL::dnnl OpenMP::OpenMP_C Threads::Threads ZLIB::ZLIB
  PkgConfig::YAML PkgConfig::XXHASH PkgConfig::HWLOC PkgConfig::FFTW PkgConfig::ZIP PkgConfig::DEFLATE
  PkgConfig::PNG PkgConfig::JPEG ${CMAKE_DL_LIBS} m)
