# generated/hpm_version.h: version, commit, its date and flags for environment.json. The commit is read at
# configure time; a dirty tree says so. A copy without .git takes HPM_SOURCE_COMMIT and HPM_SOURCE_DATE.
execute_process(COMMAND git describe --always --dirty
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
  OUTPUT_VARIABLE HPM_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT HPM_COMMIT)
  set(HPM_COMMIT "${HPM_SOURCE_COMMIT}")
endif()
if(NOT HPM_COMMIT)
  set(HPM_COMMIT "unknown")
endif()
execute_process(COMMAND git log -1 --format=%cs
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
  OUTPUT_VARIABLE HPM_DATE OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT HPM_DATE)
  set(HPM_DATE "${HPM_SOURCE_DATE}")
endif()
if(NOT HPM_DATE)
  string(TIMESTAMP HPM_DATE "%Y-%m-%d" UTC)  # SOURCE_DATE_EPOCH, where it is set
endif()
set(HPM_COMPILER "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
set(HPM_FLAGS "${CMAKE_BUILD_TYPE} ${CMAKE_CXX_FLAGS_RELEASE}")
configure_file(${CMAKE_CURRENT_SOURCE_DIR}/cmake/version.h.in
               ${CMAKE_CURRENT_BINARY_DIR}/generated/hpm_version.h @ONLY)
