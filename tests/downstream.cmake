# Installs the build into a fresh prefix, checks what lies there, then configures, builds and runs examples/downstream
# against it. cmake -D source= -D build= -D config= -D generator= -D compiler= -D ccache= -P downstream.cmake
set(work ${build}/downstream)
set(prefix ${work}/prefix)
file(REMOVE_RECURSE ${work})

function(run output)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "status ${status} of: ${command}\n${text}")
  endif()
  set(${output} "${text}" PARENT_SCOPE)
endfunction()

run(ignored ${CMAKE_COMMAND} --install ${build} --prefix ${prefix} --config ${config})

# Public headers need only LibTorch and fmt: what else the library uses stays inside it.
file(GLOB_RECURSE headers RELATIVE ${prefix}/include ${prefix}/include/hpm/*.h)
if(NOT headers)
  message(FATAL_ERROR "no header was installed")
endif()
foreach(header IN LISTS headers)
  if(header MATCHES "_impl\\.h$")
    message(FATAL_ERROR "${header} is internal, but was installed")
  endif()
  file(STRINGS ${prefix}/include/${header} leaks REGEX "#include *[<\"](nlohmann/|toml\\+\\+/|CLI/|zlib)")
  if(leaks)
    message(FATAL_ERROR "${header} is public, but includes a private dependency: ${leaks}")
  endif()
endforeach()
file(STRINGS ${prefix}/lib/cmake/hpm/hpm-targets.cmake leaks REGEX "nlohmann|${source}")
if(leaks)
  message(FATAL_ERROR "the exported package leaks: ${leaks}")
endif()

# The installed program starts: it finds LibTorch.
run(ignored ${prefix}/bin/hpm --help)

set(launcher)
if(ccache)
  set(launcher -D CMAKE_CXX_COMPILER_LAUNCHER=${ccache})
endif()
run(ignored ${CMAKE_COMMAND} -S ${source}/examples/downstream -B ${work}/build -G ${generator}
  -D CMAKE_BUILD_TYPE=${config} -D CMAKE_CXX_COMPILER=${compiler} -D CMAKE_PREFIX_PATH=${prefix} ${launcher})
run(ignored ${CMAKE_COMMAND} --build ${work}/build)
run(printed ${work}/build/downstream)
if(NOT printed MATCHES "norm 0\\.0314")
  message(FATAL_ERROR "examples/downstream should print the norm 8/255 = 0.0314, but printed:\n${printed}")
endif()
message(STATUS "examples/downstream printed: ${printed}")
