// defines: image_convolution(), ReferenceOperations
#pragma once
#include <ATen/core/Tensor.h>

namespace torch::nn {
class Conv2dImpl;
}

namespace hpm {

using at::Tensor;

/// A network's first convolution: `layer` on images x [N,C,H,W] -> [N,O,H',W'].
///
/// Its input has few channels, and the gradient with respect to them is what an attack asks for. Convolution libraries
/// are slow there (their inner loops run over channels); a matrix product and col2im, a few images at a time so that the
/// columns stay in the cache, take a half to a fifth of the time. On the CPU, in float32, with at most four channels and
/// fixed weights the gradient is computed so; in every other case by the library. Last bits differ between the two.
Tensor image_convolution(const Tensor& x, torch::nn::Conv2dImpl& layer);

/// For its lifetime, networks on this thread compute as PyTorch's own layers do, bit for bit.
class ReferenceOperations {
 public:
  explicit ReferenceOperations(bool wanted);
  ~ReferenceOperations();
  ReferenceOperations(const ReferenceOperations&) = delete;
  ReferenceOperations& operator=(const ReferenceOperations&) = delete;
  static bool wanted();

 private:
  bool before_;
};

}  // namespace hpm
