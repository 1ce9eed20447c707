// defines: Stamp
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

/// Remembers a tensor's state, to tell whether what was computed from it still holds: not after it was written to or
/// replaced. Keeps the tensor alive, so that no other can come to lie at its address.
class Stamp {
 public:
  Stamp() = default;
  explicit Stamp(const at::Tensor& t) : of_(t), data_(address(t)), version_(version(t)) {}
  /// Never for tensors of inference mode, which do not count what is written to them.
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

}  // namespace hpm
