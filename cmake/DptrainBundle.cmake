# cmake --build build --target bundle: one archive with everything but CUDA's libraries, for hosts that lack them.
if(TARGET dptrain_cli)
  add_custom_target(bundle
    COMMAND ${PROJECT_SOURCE_DIR}/launch/bundle.sh ${CMAKE_BINARY_DIR} ${CMAKE_BINARY_DIR}/dptrain-bundle.tar.xz
    COMMENT "Packing ${CMAKE_BINARY_DIR}/dptrain-bundle.tar.xz" VERBATIM USES_TERMINAL)
  add_dependencies(bundle dptrain_cli)
  if(TARGET dptrain_cuda)
    add_dependencies(bundle dptrain_cuda)
  endif()
endif()
