// defines: OptimizerOptions, Optimizer, learning_rate()
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
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
  std::string optimizer = "adam";   ///< adam, adamw (decay apart from the gradient) or sgd
  double lr = 3e-4;                 ///< highest learning rate
  std::string schedule = "cosine";  ///< see learning_rate()
  int64_t warmup = 50;              ///< steps from 0 to lr; one-cycle has its own
  double momentum = .9;             ///< of SGD
  double weight_decay = 0;
  bool nesterov = false;                       ///< of SGD
  double clip = 0;                             ///< longest gradient, L2 norm over all parameters; 0: any
  std::vector<double> milestones = {.5, .75};  ///< piecewise: shares of the run, ascending
  double decay = .1;                           ///< piecewise: factor at each milestone
  double peak = .3;                            ///< one-cycle: share of the run at which the rate is highest
};
void fields(Fields& f, OptimizerOptions& o);

/// The learning rate of step 0 .. total-1, with t = step / total:
///   cosine     lr (1 + cos(pi t)) / 2
///   constant   lr
///   step       lr, divided by 10 at t = 1/2 and at t = 3/4
///   linear     lr (1 - t)
///   piecewise  lr times `decay` for each milestone that t has reached
///   one-cycle  linear from lr / 25 to lr at t = `peak`, then lr times a cosine down to 0 (Smith and Topin,
///              arXiv:1708.07120)
/// but for one-cycle, the first `warmup` steps rise linearly to lr.
double learning_rate(const OptimizerOptions& options, int64_t step, int64_t total);

/// LibTorch's Adam, AdamW or SGD, with a state that can be stored as tensors.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, std::vector<Tensor> parameters);
  ~Optimizer();
  /// Sets gradients to zero, differentiates `loss`, calls `after_backward`, shortens the gradient where it is longer
  /// than `clip`, and moves the parameters with the learning rate of `step` out of `total`.
  void step(const Tensor& loss, int64_t step, int64_t total, const std::function<void()>& after_backward = nullptr);
  Tensor state() const;               ///< uint8 [bytes]
  void restore(const Tensor& state);  ///< from state()

 private:
  OptimizerOptions options_;
  std::vector<Tensor> parameters_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
};

}  // namespace hpm
