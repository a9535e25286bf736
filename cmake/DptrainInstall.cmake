# install(): the library and beside it the CUDA backend, its headers, the program, a CMake package (find_package(dptrain),
# target dptrain::dptrain) and dptrain.pc. All paths inside are relative, so that an installed copy can be moved.
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/dptrain)

# mpi.h would otherwise pull Open MPI's or MPICH's old C++ interface into C++ programs
target_compile_definitions(dptrain INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:OMPI_SKIP_MPICXX> $<$<COMPILE_LANGUAGE:CXX>:MPICH_SKIP_MPICXX>)

# The library opens the backend by name: LD_LIBRARY_PATH goes first, then the folder of the library, or of the program.
set_target_properties(dptrain PROPERTIES INSTALL_RPATH "$ORIGIN")
target_link_options(dptrain PRIVATE LINKER:--enable-new-dtags)
install(TARGETS dptrain EXPORT dptrainTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET dptrain_cuda)
  install(TARGETS dptrain_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY include/dptrain DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET dptrain_cli)
  file(RELATIVE_PATH library_from_program ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(dptrain_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${library_from_program}")
  target_link_options(dptrain_cli PRIVATE LINKER:--enable-new-dtags)
  install(TARGETS dptrain_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# The public headers name MPI's types, so a user of the package needs MPI too.
file(CONFIGURE OUTPUT dptrainConfig.cmake @ONLY CONTENT [[
include(CMakeFindDependencyMacro)
find_dependency(MPI COMPONENTS C)
include(${CMAKE_CURRENT_LIST_DIR}/dptrainTargets.cmake)
]])
write_basic_package_version_file(dptrainConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT dptrainTargets NAMESPACE dptrain:: DESTINATION ${package_folder})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/dptrainConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/dptrainConfigVersion.cmake
  DESTINATION ${package_folder})

# MPI has no package name that all its makers share: programs that use dptrain.pc are compiled with mpicc or mpicxx.
file(RELATIVE_PATH prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(CONFIGURE OUTPUT dptrain.pc @ONLY CONTENT [[
prefix=${pcfiledir}/@prefix_from_pc@
libdir=${prefix}/@CMAKE_INSTALL_LIBDIR@
includedir=${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Name: dptrain
Description: @PROJECT_DESCRIPTION@ (compile with mpicc or mpicxx)
Version: @PROJECT_VERSION@
Cflags: -I${includedir} -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX
Libs: -L${libdir} -ldptrain
]])
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/dptrain.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
