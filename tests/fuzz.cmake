# What reads files of others, run on changed files: fuzz_<name>, always; fuzz_<name>_libfuzzer, with DPTRAIN_FUZZ=ON.
# By hand: tests/fuzz_image --seeds corpus && tests/fuzz_image_libfuzzer corpus
# memory that a damaged file asks too much of is refused, as without a sanitizer
list(TRANSFORM DPT_TEST_ENVIRONMENT REPLACE "^ASAN_OPTIONS=" "ASAN_OPTIONS=allocator_may_return_null=1:"
  OUTPUT_VARIABLE fuzz_environment)

if(DPTRAIN_FUZZ)
  add_custom_target(fuzz)
endif()

function(add_fuzz_target name)
  add_executable(fuzz_${name} fuzz/fuzz_${name}.c fuzz/fuzz_file.c fuzz/fuzz_main.c)
  target_link_libraries(fuzz_${name} PRIVATE dptrain_test_helper dptrain_objects PkgConfig::CUNIT)
  add_test(NAME fuzz_${name} COMMAND fuzz_${name})
  set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 300 ENVIRONMENT "${fuzz_environment}")
  if(DPTRAIN_FUZZ)
    add_executable(fuzz_${name}_libfuzzer fuzz/fuzz_${name}.c fuzz/fuzz_file.c fuzz/fuzz_libfuzzer.c)
    target_include_directories(fuzz_${name}_libfuzzer PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(fuzz_${name}_libfuzzer PRIVATE dptrain_objects)
    target_link_options(fuzz_${name}_libfuzzer PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzz fuzz_${name} fuzz_${name}_libfuzzer)
  endif()
endfunction()

add_fuzz_target(csv)
add_fuzz_target(hdf5)
add_fuzz_target(idx)
add_fuzz_target(image)
add_fuzz_target(npy)
add_fuzz_target(plan)
