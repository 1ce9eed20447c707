# LibTorch by its files alone: HPM_LIBTORCH names a folder torch/ with include/ and lib/, as pip installs it. The
# TorchConfig.cmake of a CUDA build asks for nvcc and the CUDA toolkit; hpm has no CUDA sources and needs neither.
# Gives what TorchConfig.cmake gives: the target torch, TORCH_INCLUDE_DIRS and TORCH_INSTALL_PREFIX.
file(REAL_PATH "${HPM_LIBTORCH}" TORCH_INSTALL_PREFIX)
set(TORCH_INCLUDE_DIRS ${TORCH_INSTALL_PREFIX}/include ${TORCH_INSTALL_PREFIX}/include/torch/csrc/api/include)
foreach(needed include/torch/version.h lib/libtorch.so lib/libtorch_cpu.so lib/libc10.so)
  if(NOT EXISTS ${TORCH_INSTALL_PREFIX}/${needed})
    message(FATAL_ERROR "HPM_LIBTORCH=${HPM_LIBTORCH} has no ${needed}. It needs to be the folder torch/ of a Python "
                        "with PyTorch, or a LibTorch archive's folder libtorch/.")
  endif()
endforeach()

set(hpm_torch_libraries "")
foreach(name torch torch_cpu torch_cuda c10_cuda c10)
  if(EXISTS ${TORCH_INSTALL_PREFIX}/lib/lib${name}.so)
    list(APPEND hpm_torch_libraries ${TORCH_INSTALL_PREFIX}/lib/lib${name}.so)
  endif()
endforeach()
add_library(torch INTERFACE IMPORTED)
# libtorch_cuda.so registers its kernels when it is loaded: it must be linked although nothing in it is named. It finds
# CUDA's own libraries by itself where it runs; they need not be there to link.
set_target_properties(torch PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${TORCH_INCLUDE_DIRS}"
  INTERFACE_COMPILE_DEFINITIONS "USE_DISTRIBUTED;USE_C10D_GLOO;USE_RPC;USE_TENSORPIPE"
  INTERFACE_LINK_OPTIONS "LINKER:--no-as-needed,--allow-shlib-undefined"
  INTERFACE_LINK_LIBRARIES "${hpm_torch_libraries}")

# Tells in seconds what a build would tell at its end.
set(hpm_probe ${CMAKE_CURRENT_BINARY_DIR}/torch_probe.cpp)
file(WRITE ${hpm_probe} "#include <c10/core/Device.h>\n#include <torch/cuda.h>\n"
  "int main() { return c10::Device(c10::kCPU).is_cpu() && torch::cuda::device_count() < 99 ? 0 : 1; }\n")
try_compile(HPM_LIBTORCH_LINKS ${CMAKE_CURRENT_BINARY_DIR}/torch_probe SOURCES ${hpm_probe}
  LINK_LIBRARIES torch CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON OUTPUT_VARIABLE hpm_probe_output)
if(NOT HPM_LIBTORCH_LINKS)
  unset(HPM_LIBTORCH_LINKS CACHE)  # the next run tries again
  message(FATAL_ERROR "A program cannot be linked with ${TORCH_INSTALL_PREFIX}/lib:\n${hpm_probe_output}")
endif()
message(STATUS "LibTorch by its files alone: ${hpm_torch_libraries}")
