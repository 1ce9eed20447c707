// defines: Mart
#pragma once
#include "hpm/training/objectives/method.h"

namespace hpm {

/// MART (Wang et al., "Improving adversarial robustness requires revisiting misclassified examples", ICLR 2020, eq.
/// 14): with p = softmax(f(x)), q = softmax(f(x')),
///
///     L = CE(f(x'), y) - log(1 - max_{k != y} q_k) + beta KL(p | q) (1 - p_y)
///
/// x' by PGD on CE from x + .001 N(0,1). The small constants are those of the authors' code: log(1.0001 - q + 1e-12),
/// log(q + 1e-12), 1.0000001 - p_y. Of mixed images the margin and the weight follow the larger part's label.
class Mart : public TrainingMethod {
 public:
  explicit Mart(const MethodOptions& options) : beta_(options.beta), smoothing_(options.label_smoothing) {}
  bool needs_clean() const override { return true; }
  Tensor search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                const RandomStreams& streams) const override;
  Tensor loss(const LossInput& input) const override;

 private:
  double beta_, smoothing_;
};

}  // namespace hpm
