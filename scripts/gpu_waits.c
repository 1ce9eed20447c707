// Counts the calls by which a program waits for CUDA. Loaded before it: LD_PRELOAD=libgpu_waits.so HPM_GPU_WAITS=FILE program.
// PyTorch's item(), copies to the CPU and ordinary copies to the device end in cudaStreamSynchronize.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

// The function of libcudart, which Python may have loaded out of the reach of RTLD_NEXT.
static void* find_next(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  const char* libraries[] = {"libcudart.so.13", "libcudart.so.12"};
  for (size_t i = 0; !found && i < sizeof libraries / sizeof *libraries; ++i) {
    void* library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
    if (library) found = dlsym(library, name);
  }
  return found;
}

#define COUNTED(name, parameters, arguments)                                            \
  static atomic_long name##_count;                                                      \
  int name parameters {                                                                 \
    static int(*next) parameters;                                                       \
    if (!next) *(void**)&next = find_next(#name);                                       \
    atomic_fetch_add(&name##_count, 1);                                                 \
    return next ? next arguments : 3; /* cudaErrorInitializationError */                \
  }

COUNTED(cudaStreamSynchronize, (void* stream), (stream))
COUNTED(cudaDeviceSynchronize, (void), ())
COUNTED(cudaEventSynchronize, (void* event), (event))
COUNTED(cudaMemcpy, (void* to, const void* from, size_t bytes, int kind), (to, from, bytes, kind))

__attribute__((destructor)) static void write_counts(void) {
  const char* path = getenv("HPM_GPU_WAITS");
  FILE* file = path ? fopen(path, "a") : NULL;
  if (!file) return;
  fprintf(file, "stream %ld\ndevice %ld\nevent %ld\nmemcpy %ld\n", cudaStreamSynchronize_count, cudaDeviceSynchronize_count,
          cudaEventSynchronize_count, cudaMemcpy_count);
  fclose(file);
}
