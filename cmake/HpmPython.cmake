# HPM_PYTHON_MODULE: whether the Python module can be built, that is whether the Python of HpmDependencies has the PyTorch
# whose LibTorch is used, and the headers to build modules with.
set(HPM_PYTHON_MODULE OFF)
if(HPM_BUILD_PYTHON AND NOT HPM_SANITIZE)  # Python itself has no sanitizers
  set(Python_EXECUTABLE ${HPM_PYTHON_EXECUTABLE})
  find_package(Python 3.10 COMPONENTS Interpreter Development.Module)
  if(Python_FOUND)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "import os, torch; print(os.path.dirname(torch.__file__) + ';' + torch.__version__)"
      OUTPUT_VARIABLE hpm_found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(hpm_found)
      list(GET hpm_found 0 hpm_folder)
      list(GET hpm_found 1 HPM_TORCH_VERSION)
      file(REAL_PATH ${hpm_folder} hpm_folder)
      file(REAL_PATH ${TORCH_INSTALL_PREFIX} hpm_prefix)
      if(hpm_folder STREQUAL hpm_prefix)
        set(HPM_PYTHON_MODULE ON)
      endif()
    endif()
  endif()
  if(NOT HPM_PYTHON_MODULE)
    message(STATUS "Without the Python module: ${HPM_PYTHON_EXECUTABLE} needs Python's headers and the PyTorch of "
                   "${TORCH_INSTALL_PREFIX}")
  endif()
endif()
