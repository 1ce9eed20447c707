#include "hpm/core/tf32.h"

#include "hpm/core/torch_impl.h"

namespace hpm {

ScopedTf32::ScopedTf32(bool allowed, at::Device device) : active_(!device.is_cpu()) {
  if (!active_) return;
  auto& settings = at::globalContext();
  products_ = settings.allowTF32CuBLAS(), convolutions_ = settings.allowTF32CuDNN();
  settings.setAllowTF32CuBLAS(allowed), settings.setAllowTF32CuDNN(allowed);
}

ScopedTf32::~ScopedTf32() {
  if (!active_) return;
  auto& settings = at::globalContext();
  settings.setAllowTF32CuBLAS(products_), settings.setAllowTF32CuDNN(convolutions_);
}

}  // namespace hpm
