include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(GLOB_RECURSE hpm_headers RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS hpm/*.h)
list(FILTER hpm_headers EXCLUDE REGEX "_impl\\.h$")
foreach(header IN LISTS hpm_headers)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/${folder})
endforeach()
install(TARGETS hpm EXPORT hpm-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT hpm-targets NAMESPACE hpm:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hpm)
configure_package_config_file(cmake/hpm-config.cmake.in hpm-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hpm)
write_basic_package_version_file(hpm-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/hpm-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/hpm-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hpm)
if(HPM_BUILD_APP)
  install(TARGETS hpm_app RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
