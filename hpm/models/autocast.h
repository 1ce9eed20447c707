// defines: ScopedAutocast
#pragma once
#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

namespace hpm {

/// For its lifetime, convolutions and matrix products on this thread and kind of device compute in `type` (PyTorch's
/// autocast), whatever the type of their weights.
class ScopedAutocast {
 public:
  ScopedAutocast(c10::DeviceType device, c10::ScalarType type);
  ~ScopedAutocast();
  ScopedAutocast(const ScopedAutocast&) = delete;
  ScopedAutocast& operator=(const ScopedAutocast&) = delete;

 private:
  c10::DeviceType device_;
  bool before_enabled_;
  c10::ScalarType before_type_;
};

}  // namespace hpm
