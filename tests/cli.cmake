# The command line's own modules: their sources are no part of the library.
include(${PROJECT_SOURCE_DIR}/src/cli/sources.cmake)
dpt_add_test(config SOURCES test_config.c ${DPTRAIN_CLI_SOURCES})
dpt_add_test(config_fields SOURCES test_config_fields.c ${DPTRAIN_CLI_SOURCES})
target_compile_definitions(test_config PRIVATE DPT_CONFIG_REFERENCE="${PROJECT_SOURCE_DIR}/docs/config.md")
dpt_add_test(data_wait SOURCES test_data_wait.c ${DPTRAIN_CLI_SOURCES})
dpt_add_test(run_dir SOURCES test_run_dir.c ${DPTRAIN_CLI_SOURCES})
dpt_add_test(results SOURCES test_results.c ${DPTRAIN_CLI_SOURCES})
dpt_add_test(params_file)
