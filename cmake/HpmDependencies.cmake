# LibTorch is PyTorch's: a user's own through Torch_DIR, CMAKE_PREFIX_PATH or HPM_PYTHON (variables or in the
# environment), otherwise the wheel that scripts/setup puts into .venv.
set(HPM_PYTHON "$ENV{HPM_PYTHON}" CACHE FILEPATH "A Python with PyTorch: its LibTorch is used, and the tests run it")
if(SKBUILD)  # pip builds the package: its own Python
  set(HPM_PYTHON_EXECUTABLE ${Python_EXECUTABLE})
elseif(HPM_PYTHON)
  set(HPM_PYTHON_EXECUTABLE ${HPM_PYTHON})
elseif(EXISTS ${PROJECT_SOURCE_DIR}/.venv/bin/python)
  set(HPM_PYTHON_EXECUTABLE ${PROJECT_SOURCE_DIR}/.venv/bin/python)
else()
  find_program(HPM_PYTHON_EXECUTABLE python3)
endif()

# LibTorch leaves many paths in the cache, so that a build folder cannot change to another one.
set(hpm_torch_choice "$ENV{Torch_DIR} $ENV{CMAKE_PREFIX_PATH} $ENV{HPM_PYTHON}")
if(DEFINED HPM_TORCH_CHOICE AND NOT hpm_torch_choice STREQUAL "  " AND NOT hpm_torch_choice STREQUAL HPM_TORCH_CHOICE)
  message(FATAL_ERROR "${PROJECT_BINARY_DIR} was configured with the LibTorch in ${Torch_DIR}. "
                      "To build with another one, remove that folder (make clean).")
endif()

set(HPM_LIBTORCH "" CACHE PATH "A folder torch/ (include, lib): LibTorch without its CMake files, which want CUDA's toolkit")
if(HPM_LIBTORCH)
  include(HpmLibTorch)
else()
  if(NOT Torch_DIR AND HPM_PYTHON_EXECUTABLE)
    execute_process(
      COMMAND ${HPM_PYTHON_EXECUTABLE} -c
              "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin))"
      OUTPUT_VARIABLE hpm_python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_package(Torch REQUIRED HINTS ${hpm_python_torch}/share/cmake)
endif()
set(HPM_TORCH_CHOICE ${hpm_torch_choice} CACHE INTERNAL "")

find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
if(HPM_BUILD_APP)
  find_package(CLI11 REQUIRED)
endif()
if(HPM_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(HPM_BUILD_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
