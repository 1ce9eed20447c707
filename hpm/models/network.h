// defines: Network, NetworkOutput
#pragma once
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <memory>

namespace hpm {

using at::Tensor;

/// What one pass through a network gives.
struct NetworkOutput {
  Tensor features;  ///< penultimate features z [N,D]; undefined for a black box
  Tensor logits;    ///< [N,K]
};

/// An architecture, cut at its penultimate features: the input of the last linear layer. The names of its parameters
/// and buffers are the keys of its checkpoints. A new architecture is one file pair and one line in registry.cpp.
class Network : public torch::nn::Module {
 public:
  /// x [N,C,H,W], already normalised -> z [N,D].
  virtual Tensor features(const Tensor& x) = 0;
  /// The same architecture, newly initialised.
  virtual std::shared_ptr<Network> fresh() const = 0;
  /// The last linear layer, W [K,D], b [K] (b may be undefined). Empty for a network that is not cut at its features.
  virtual torch::nn::Linear head() = 0;
  /// x [N,C,H,W], already normalised -> features and logits of one pass.
  virtual NetworkOutput run(const Tensor& x) {
    auto z = features(x);
    auto logits = head()->forward(z);
    return {std::move(z), std::move(logits)};
  }
};

}  // namespace hpm
