# What the dptrain program and the tests of the command line are made of, besides the library.
set(DPTRAIN_CLI_SOURCES
  bind.c config.c config_fields.c config_value.c config_words.c config_write.c config_yaml.c data_wait.c
  early_stop.c exit_code.c exit_report.c launch_check.c picture.c progress.c run_dir.c)
list(TRANSFORM DPTRAIN_CLI_SOURCES PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
