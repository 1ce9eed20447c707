// defines: OptimizerOptions, Optimizer, learning_rate()
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "hpm/core/fields.h"

namespace torch::optim {
class Optimizer;
}

namespace hpm {

using at::Tensor;

/// The optimiser and its learning rate.
struct OptimizerOptions {
  std::string optimizer = "adam";   ///< adam or sgd
  double lr = 3e-4;                 ///< highest learning rate
  std::string schedule = "cosine";  ///< cosine (to 0), constant, step (divided by 10 at 1/2 and 3/4) or linear (to 0)
  int64_t warmup = 50;              ///< steps from 0 to lr
  double momentum = .9;             ///< of SGD
  double weight_decay = 0;
};
void fields(Fields& f, OptimizerOptions& o);

/// The learning rate of step 0 .. total-1.
double learning_rate(const OptimizerOptions& options, int64_t step, int64_t total);

/// LibTorch's Adam or SGD, with a state that can be stored as tensors.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, std::vector<Tensor> parameters);
  ~Optimizer();
  /// Sets gradients to zero, differentiates `loss`, and moves the parameters with the learning rate of `step` out of
  /// `total`.
  void step(const Tensor& loss, int64_t step, int64_t total);
  Tensor state() const;               ///< uint8 [bytes]
  void restore(const Tensor& state);  ///< from state()

 private:
  OptimizerOptions options_;
  std::vector<Tensor> parameters_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
};

}  // namespace hpm
