// defines: ComputeOptions, parse_device(), visible_gpus(), device_of_rank(), SearchPrecision, parse_precision(),
// ScopedThreads
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

/// The CUDA devices that this process sees; 0 in a build without CUDA.
int64_t visible_gpus();

/// The device of the process with this rank on its machine, which sees `gpus` CUDA devices: "cuda" becomes
/// "cuda:<local_rank modulo gpus>", for a launcher may show each process one of its own. A device that was named by its
/// number, and the CPU, stay.
std::string device_of_rank(const std::string& device, int64_t local_rank, int64_t gpus);

/// How an attack's search computes. Verdicts are float32.
struct SearchPrecision {
  at::ScalarType type = at::kFloat;  ///< float32 or bfloat16
  bool tf32 = false;                 ///< TF32 where it computes in float32 (on a GPU)
};
/// The precision a name stands for: float32; tf32; bfloat16, which allows TF32 too; or auto (bfloat16 on a GPU, else
/// float32). The CPU has no TF32: there tf32 is float32.
SearchPrecision parse_precision(const std::string& name, at::Device device);

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
