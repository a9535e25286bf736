# dpt_add_test(name [SOURCES file…] [RANKS n…] [CUDA n…] [CUDA_ONLY] [LABELS label…] [TIMEOUT s])
#
# Builds tests/test_<name>.c (or SOURCES) with the whole library, private symbols included, and adds a test a rank count:
# <name> for one process, <name>_np<n> under mpirun for each n > 1. A test that exits 77 shows as skipped.
#
# CUDA: rank counts at which the same program also runs on the CUDA backend as it is built for the CPU (hostcuda/), as
# <name>_cuda and <name>_cuda_np<n>, a device a rank. None are added where that is not built. CUDA_ONLY: only there.
#
# dpt_add_cuda_case(test program RANKS n [ENVIRONMENT NAME=value…] [WORDS word…] [LABELS …] [TIMEOUT s]): one run of a
# test program there, with words on its command line.

# What runs under ThreadSanitizer.
add_custom_target(thread_tests)

add_library(dptrain_test_helper OBJECT ${CMAKE_CURRENT_SOURCE_DIR}/check.c ${CMAKE_CURRENT_SOURCE_DIR}/kernel_call.c)
target_include_directories(dptrain_test_helper PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(dptrain_test_helper PUBLIC dptrain_objects PkgConfig::CUNIT)

set(DPT_TEST_ENVIRONMENT
  OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
  OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_ess_singleton_isolated=1
  "ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:fast_unwind_on_malloc=0:verify_asan_link_order=0"
  "LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/sanitizers/lsan.supp:print_suppressions=0"
  "TSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/sanitizers/tsan.supp:halt_on_error=1:ignore_noninstrumented_modules=1")

if(DPTRAIN_SANITIZE)
  # Open MPI unloads its plug-ins at the end; what the sanitizers found in one then has no name to be suppressed by
  add_library(dptrain_keep_loaded MODULE sanitizers/keep_loaded.c)
  set_target_properties(dptrain_keep_loaded PROPERTIES C_VISIBILITY_PRESET default)
  add_dependencies(thread_tests dptrain_keep_loaded)
  list(APPEND DPT_TEST_ENVIRONMENT LD_PRELOAD=$<TARGET_FILE:dptrain_keep_loaded>)
endif()

function(dpt_add_cuda_case test program)
  cmake_parse_arguments(arg "" "TIMEOUT;RANKS" "ENVIRONMENT;WORDS;LABELS" ${ARGN})
  if(NOT TARGET dptrain_cuda_host)
    return()
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set(launcher)
  set(processors 1)
  if(arg_RANKS GREATER 1)
    set(launcher ${MPIEXEC_EXECUTABLE} -np ${arg_RANKS})
    set(processors 2)
  endif()
  add_test(NAME ${test} COMMAND ${launcher} $<TARGET_FILE:${program}> ${arg_WORDS})
  set_tests_properties(${test} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT} LABELS "cuda;${arg_LABELS}"
    PROCESSORS ${processors}
    ENVIRONMENT "${DPT_TEST_ENVIRONMENT};DPT_TEST_DEVICE=cuda;HOSTCUDA_DEVICES=${arg_RANKS};${arg_ENVIRONMENT}"
    ENVIRONMENT_MODIFICATION "LD_LIBRARY_PATH=path_list_prepend:$<TARGET_FILE_DIR:dptrain_cuda_host>")
  add_dependencies(${program} dptrain_cuda_host)
endfunction()

function(dpt_add_test name)
  cmake_parse_arguments(arg "CUDA_ONLY" "TIMEOUT" "SOURCES;RANKS;LABELS;CUDA" ${ARGN})
  if(NOT arg_SOURCES)
    set(arg_SOURCES test_${name}.c)
  endif()
  if(NOT arg_RANKS AND NOT arg_CUDA_ONLY)
    set(arg_RANKS 1)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(test_${name} ${arg_SOURCES})
  target_link_libraries(test_${name} PRIVATE dptrain_test_helper dptrain_objects PkgConfig::CUNIT)
  if("threads" IN_LIST arg_LABELS OR 2 IN_LIST arg_RANKS)
    add_dependencies(thread_tests test_${name})
  endif()
  foreach(n IN LISTS arg_RANKS)
    if(n EQUAL 1)
      set(test ${name})
      add_test(NAME ${test} COMMAND test_${name})
    else()
      set(test ${name}_np${n})
      add_test(NAME ${test} COMMAND ${MPIEXEC_EXECUTABLE} -np ${n} $<TARGET_FILE:test_${name}>)
    endif()
    set_tests_properties(${test} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
      ENVIRONMENT "${DPT_TEST_ENVIRONMENT}")
    if(n GREATER 1)
      set_tests_properties(${test} PROPERTIES PROCESSORS 2)
    endif()
  endforeach()
  foreach(n IN LISTS arg_CUDA)
    set(test ${name}_cuda)
    if(n GREATER 1)
      string(APPEND test _np${n})
    endif()
    dpt_add_cuda_case(${test} test_${name} RANKS ${n} LABELS ${arg_LABELS} TIMEOUT ${arg_TIMEOUT})
  endforeach()
endfunction()
