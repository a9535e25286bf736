# What everything is compiled with: dptrain_flags (warnings, sanitizers) and dptrain_dependencies (libraries).

add_library(dptrain_flags INTERFACE)
target_compile_options(dptrain_flags INTERFACE
  -fno-math-errno -fno-trapping-math # so that square roots and choices vectorise
  $<$<NOT:$<CONFIG:Debug>>:-O3>
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
  $<$<BOOL:${DPTRAIN_WERROR}>:-Werror>)
target_compile_definitions(dptrain_flags INTERFACE _GNU_SOURCE DPTRAIN_VERSION="${PROJECT_VERSION}")
if(DPTRAIN_SANITIZE)
  target_compile_options(dptrain_flags INTERFACE -fsanitize=${DPTRAIN_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(dptrain_flags INTERFACE -fsanitize=${DPTRAIN_SANITIZE})
  # function multiversioning resolves before the sanitizers have started
  target_compile_definitions(dptrain_flags INTERFACE DPT_NO_MULTIVERSION)
endif()
if(DPTRAIN_COVERAGE)
  target_compile_options(dptrain_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(dptrain_flags INTERFACE --coverage)
endif()

add_library(dptrain_dependencies INTERFACE)
target_include_directories(dptrain_dependencies SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR})
target_link_libraries(dptrain_dependencies INTERFACE
  MPI::MPI_C HDF5::HDF5 DNNL::dnnl OpenMP::OpenMP_C Threads::Threads ZLIB::ZLIB
  PkgConfig::YAML PkgConfig::XXHASH PkgConfig::HWLOC ${CMAKE_DL_LIBS} m)
