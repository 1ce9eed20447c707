#include "hpm/core/transfer.h"

#include "hpm/core/torch_impl.h"

namespace hpm {
namespace {

// CUDA copies a larger block of ordinary memory in pieces, and waits in between. Pinned memory is copied in the
// background.
constexpr int64_t kStagedBytes = 65536;

at::Tensor ready(const at::Tensor& host, at::Device device) {
  const bool pins = device.is_cuda() && host.is_cpu() && static_cast<int64_t>(host.nbytes()) > kStagedBytes;
  return pins ? host.pin_memory() : host;
}

}  // namespace

at::Tensor uploaded(const at::Tensor& host, const at::TensorOptions& options) {
  return ready(host, options.device()).to(options, true);
}

at::Tensor uploaded(const at::Tensor& host, at::Device device) {
  return ready(host, device).to(device, host.scalar_type(), true);
}

at::Tensor places_of(const at::Tensor& mask) { return mask.nonzero().squeeze(1); }

}  // namespace hpm
