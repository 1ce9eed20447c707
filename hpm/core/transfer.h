// defines: uploaded(), places_of()
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

// A GPU works through a queue. The host waits for the whole queue where it reads a value (item, a copy to the CPU),
// where it must know the size of a result (nonzero, a mask as an index), and in PyTorch's ordinary copies to the
// device. These functions make such waits few and visible. On the CPU they cost nothing.

/// A tensor of the CPU, on the device and of the type of `options`; the host does not wait. The tensor must not be
/// written to afterwards.
at::Tensor uploaded(const at::Tensor& host, const at::TensorOptions& options);
/// The same without a change of type.
at::Tensor uploaded(const at::Tensor& host, at::Device device);

/// The places where `mask` [M] bool of the CPU holds: [m] int64, on the CPU.
at::Tensor places_of(const at::Tensor& mask);

}  // namespace hpm
