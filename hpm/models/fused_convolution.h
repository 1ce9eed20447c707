// defines: FusedConvolution
#pragma once
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>

#include <memory>

namespace hpm {

using at::Tensor;

/// A convolution, the batch norm behind it (if any) and ReLU (if wanted) in one step.
///
/// A 3x3 layer of stride 1 is computed by `winograd_convolution`, with the batch norm folded into its weights, if the
/// pass belongs to an attack's search (`fast_operations`), runs on the CPU in float32, and the weights are fixed. In a
/// search in bfloat16 the batch norm is folded too, into weights of that type. The transformed and folded weights are
/// kept until a weight changes. In every other case the layers compute themselves.
class FusedConvolution {
 public:
  FusedConvolution();
  ~FusedConvolution();
  FusedConvolution(FusedConvolution&&) noexcept;

  /// `norm` may be null.
  Tensor operator()(const Tensor& x, torch::nn::Conv2dImpl& layer, torch::nn::BatchNorm2dImpl* norm, bool relu);

 private:
  struct Folded;
  struct Reduced;
  const Folded& folded(torch::nn::Conv2dImpl& layer, torch::nn::BatchNorm2dImpl* norm);
  const Reduced& reduced(torch::nn::Conv2dImpl& layer, torch::nn::BatchNorm2dImpl* norm);
  std::unique_ptr<Folded> folded_;
  std::unique_ptr<Reduced> reduced_;
};

}  // namespace hpm
