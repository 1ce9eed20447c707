// The layers that architectures are built of, with or without initial weights.
#pragma once
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

namespace hpm {

/// While one lives, this thread's new convolutions and linear layers have shapes but no weights (one element,
/// expanded): for a network whose weights are loaded next, or whose shapes alone are asked for. Initialising a Wide
/// ResNet-34-10 takes longer than reading its checkpoint.
class WithoutWeights {
 public:
  WithoutWeights();
  ~WithoutWeights();
  WithoutWeights(const WithoutWeights&) = delete;
  WithoutWeights& operator=(const WithoutWeights&) = delete;

 private:
  bool before_;
};

torch::nn::Conv2d make_convolution(const torch::nn::Conv2dOptions& options);
torch::nn::Linear make_linear(const torch::nn::LinearOptions& options);

}  // namespace hpm
