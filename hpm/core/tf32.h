// defines: ScopedTf32
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

/// For its lifetime, matrix products and convolutions of float32 on a GPU may compute in TF32 (10 bits of mantissa in
/// place of 23), or must not. Verdicts never do: PyTorch's own setting, which allows it in convolutions, is put aside.
/// On the CPU it does nothing. The setting is the process's, so that it reaches the threads of backward passes.
class ScopedTf32 {
 public:
  ScopedTf32(bool allowed, at::Device device);
  ~ScopedTf32();
  ScopedTf32(const ScopedTf32&) = delete;
  ScopedTf32& operator=(const ScopedTf32&) = delete;

 private:
  bool active_, products_ = false, convolutions_ = false;
};

}  // namespace hpm
