# `cmake --install` and the package hpm::hpm, usable from the installed prefix or, with hpm_DIR, from the build folder.
# (The Python package installs its own parts: python/CMakeLists.txt.)
if(SKBUILD)
  return()
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(GLOB_RECURSE hpm_headers RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS hpm/*.h)
list(FILTER hpm_headers EXCLUDE REGEX "_impl\\.h$")
foreach(header IN LISTS hpm_headers)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/${folder})
endforeach()

set(hpm_package ${CMAKE_INSTALL_LIBDIR}/cmake/hpm)
install(TARGETS hpm EXPORT hpm-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT hpm-targets NAMESPACE hpm:: DESTINATION ${hpm_package})
export(EXPORT hpm-targets NAMESPACE hpm:: FILE ${PROJECT_BINARY_DIR}/hpm-targets.cmake)
configure_package_config_file(cmake/hpm-config.cmake.in ${PROJECT_BINARY_DIR}/hpm-config.cmake
  INSTALL_DESTINATION ${hpm_package})
# What find_package(hpm X.Y) takes is what docs/releases.md promises: before 1.0.0 a minor version may change anything.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(hpm_compatibility SameMinorVersion)
else()
  set(hpm_compatibility SameMajorVersion)
endif()
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hpm-config-version.cmake COMPATIBILITY ${hpm_compatibility})
install(FILES ${PROJECT_BINARY_DIR}/hpm-config.cmake ${PROJECT_BINARY_DIR}/hpm-config-version.cmake
        DESTINATION ${hpm_package})
install(FILES LICENSE CITATION.cff CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(HPM_BUILD_APP)
  # The installed program finds LibTorch where the build found it.
  set_target_properties(hpm_app PROPERTIES INSTALL_RPATH ${TORCH_INSTALL_PREFIX}/lib)
  install(TARGETS hpm_app RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

  # Man pages and completions are written by the program itself, from the declarations of its flags.
  if(NOT CMAKE_CROSSCOMPILING)
    set(hpm_made ${PROJECT_BINARY_DIR}/for_install)
    install(CODE "
      execute_process(COMMAND \"$<TARGET_FILE:hpm_app>\" man \"${hpm_made}/man1\" OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
      foreach(shell IN ITEMS bash zsh fish)
        execute_process(COMMAND \"$<TARGET_FILE:hpm_app>\" completion \${shell}
                        OUTPUT_FILE \"${hpm_made}/hpm.\${shell}\" COMMAND_ERROR_IS_FATAL ANY)
      endforeach()")
    install(DIRECTORY ${hpm_made}/man1/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
    install(FILES ${hpm_made}/hpm.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME hpm)
    install(FILES ${hpm_made}/hpm.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _hpm)
    install(FILES ${hpm_made}/hpm.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  endif()
endif()
