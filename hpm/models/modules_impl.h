// The layers that architectures are built of, with or without initial weights.
#pragma once
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

namespace hpm {

/// While an object of this class exists, new convolutions and linear layers of this thread have shapes but no weights
/// (one element, expanded). It is for networks whose weights are loaded next, or of which only the shapes are needed.
/// Initialising a Wide ResNet-34-10 takes longer than reading its checkpoint.
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
