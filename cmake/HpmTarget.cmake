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
