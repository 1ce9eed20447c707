// defines: Stamp, count_change()
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

/// Tells whether what was computed from a tensor is still valid: it is not once the tensor was written to or replaced.
/// Holds a reference to the tensor, so that no other one can get its address. Writes are known by PyTorch's counter;
/// whoever writes past it calls count_change().
class Stamp {
 public:
  Stamp() = default;
  explicit Stamp(const at::Tensor& t) : of_(t), data_(address(t)), version_(version(t)) {}
  /// Whether `t` is that tensor, unchanged. False for tensors of inference mode, which do not count what is written to
  /// them.
  bool holds(const at::Tensor& t) const {
    return of_.is_same(t) && data_ == address(t) && version_ == version(t) && !(t.defined() && t.is_inference());
  }

 private:
  static const void* address(const at::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }
  static int64_t version(const at::Tensor& t) {
    return t.defined() && !t.is_inference() ? static_cast<int64_t>(t._version()) : -1;
  }

  at::Tensor of_;
  const void* data_ = nullptr;
  int64_t version_ = -1;
};

/// Counts a change of `t` that PyTorch did not count, so that no Stamp holds it any more: what is written through
/// data(), as LibTorch's SGD does, and the running statistics that batch norm's kernel writes. To be called when no
/// graph waits for the old values.
inline void count_change(const at::Tensor& t) {
  if (t.defined() && !t.is_inference()) t.unsafeGetTensorImpl()->bump_version();
}

}  // namespace hpm
