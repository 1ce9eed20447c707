// defines: ComputeOptions, parse_device(), parse_precision(), ScopedThreads
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "hpm/core/fields.h"

namespace hpm {

/// How to compute. None of these changes what counts as broken. A search in bfloat16 may find fewer images.
struct ComputeOptions {
  std::string device = "cpu";         ///< "cpu", "cuda" or "cuda:1"
  int64_t threads = 0;                ///< 0: all cores of this process
  int64_t batch_size = 256;           ///< images per network pass
  std::string precision = "float32";  ///< of the backbone during an attack's search
};
void fields(Fields& f, ComputeOptions& o);

/// The device a name stands for. Throws UsageError for an unknown name, or for CUDA in a build or machine without it.
at::Device parse_device(const std::string& name);

/// The precision a name stands for: float32, bfloat16, or auto (bfloat16 on a GPU, else float32).
at::ScalarType parse_precision(const std::string& name, at::Device device);

/// The number of cores this process may use.
int64_t available_cores();

/// Sets LibTorch's intra-op threads (0: all cores).
void configure_threads(int64_t threads);

/// Sets LibTorch's intra-op threads for its lifetime.
class ScopedThreads {
 public:
  explicit ScopedThreads(int64_t threads);
  ~ScopedThreads();
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;

 private:
  int before_;
};

}  // namespace hpm
