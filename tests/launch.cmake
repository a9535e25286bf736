# The scripts of launch/, the acceptance ledger, and a program built against an installed copy.

add_test(NAME ledger
  COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/test_ledger.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
set_tests_properties(ledger PROPERTIES LABELS long TIMEOUT 900 ENVIRONMENT "${DPT_TEST_ENVIRONMENT}")

add_test(NAME consumer
  COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/consumer/run.sh ${PROJECT_BINARY_DIR} ${PROJECT_VERSION})
set_tests_properties(consumer PROPERTIES LABELS long SKIP_RETURN_CODE 77 ENVIRONMENT "${DPT_TEST_ENVIRONMENT}")

add_test(NAME shell_scripts WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} COMMAND bash -c
  "command -v shellcheck >/dev/null || exit 77; exec shellcheck launch/*.sh launch/slurm/*.sbatch tests/*.sh tests/*/*.sh .ci/run")
set_tests_properties(shell_scripts PROPERTIES LABELS long SKIP_RETURN_CODE 77)
