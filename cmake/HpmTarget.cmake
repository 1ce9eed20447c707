# Flags of our own targets. Torch is imported, so its headers are system headers and never warn.
function(hpm_configure_target target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  # Fused multiply-adds would make results depend on the compiler's choices.
  # Designated initialisers leave members to their defaults on purpose: GCC calls them missing.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-missing-field-initializers -ffp-contract=off)
  if(HPM_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(HPM_SANITIZE)
    # Without no-sanitize-recover undefined behaviour is only printed, and the test passes.
    target_compile_options(${target} PRIVATE -fsanitize=${HPM_SANITIZE} -fno-sanitize-recover=all
                           -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${HPM_SANITIZE})
  endif()
  if(HPM_COVERAGE)
    # Threads count too, hence atomic. With more optimisation lines melt into each other.
    target_compile_options(${target} PRIVATE --coverage -fprofile-update=atomic -O1)
    target_link_options(${target} PUBLIC --coverage)
  endif()
  # Its headers are all there is to it, and only our sources need them: linking it would put it into hpm's package.
  target_include_directories(${target} SYSTEM PRIVATE
    $<TARGET_PROPERTY:nlohmann_json::nlohmann_json,INTERFACE_INCLUDE_DIRECTORIES>)
endfunction()

# A program uses the library's precompiled header: that takes the library's flags (-fPIC; CMake would give a program -fPIE).
function(hpm_share_precompiled_header target)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIC)
  target_precompile_headers(${target} REUSE_FROM hpm)
endfunction()

# Source files of the library, in the current folder, that do not use LibTorch: they take a header of their own.
function(hpm_without_torch)
  set_source_files_properties(${ARGN} TARGET_DIRECTORY hpm PROPERTIES SKIP_PRECOMPILE_HEADERS ON
    COMPILE_OPTIONS "-include;${PROJECT_SOURCE_DIR}/cmake/without_torch.h")
endfunction()

# fmt is compiled once, in hpm/core/fmt.cpp: header-only it would be compiled into every file, 2 s each. An fmt whose
# sources do not go together that way stays header-only. The installed package asks for fmt header-only in any case.
function(hpm_link_fmt)
  set(probe ${CMAKE_CURRENT_BINARY_DIR}/fmt_probe.cpp)
  file(WRITE ${probe} "#include <fmt/format.h>\n#include <fmt/ranges.h>\n#include <cstdio>\n#include <vector>\n"
    "int main() { fmt::print(\"{:.3g} {} {:>4} {}\", 1.5, 2, \"x\", fmt::join(std::vector<double>{.5f}, \",\")); }\n")
  get_target_property(torch_headers torch INTERFACE_INCLUDE_DIRECTORIES)
  get_target_property(fmt_headers fmt::fmt-header-only INTERFACE_INCLUDE_DIRECTORIES)
  try_compile(HPM_FMT_ONCE ${CMAKE_CURRENT_BINARY_DIR}/fmt_probe
    SOURCES ${probe} ${PROJECT_SOURCE_DIR}/hpm/core/fmt.cpp
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${torch_headers};${fmt_headers}"
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON)
  if(HPM_FMT_ONCE)
    target_link_libraries(hpm PUBLIC $<INSTALL_INTERFACE:fmt::fmt-header-only>)
    target_include_directories(hpm SYSTEM PUBLIC $<BUILD_INTERFACE:${fmt_headers}>)
  else()
    target_link_libraries(hpm PUBLIC fmt::fmt-header-only)
  endif()
endfunction()
