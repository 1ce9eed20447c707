// defines: Trades
#pragma once
#include "hpm/training/objectives/method.h"

namespace hpm {

/// TRADES (Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019,
/// arXiv:1901.08573, eq. 5):
///
///     L = CE(f(x), y) + beta KL(p(x) | p(x')),   p = softmax(f),   KL(p | q) = sum p log(p / q)
///
/// x' climbs the same divergence from x + .001 N(0,1), as in the authors' code; p(x) is a constant there. Against a
/// surrogate (HPM fine-tuning) x' climbs the surrogate's cross-entropy from that start.
class Trades : public TrainingMethod {
 public:
  explicit Trades(const MethodOptions& options) : beta_(options.beta), smoothing_(options.label_smoothing) {}
  bool needs_clean() const override { return true; }
  Tensor search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                const RandomStreams& streams) const override;
  Tensor loss(const LossInput& input) const override;

 private:
  double beta_, smoothing_;
};

}  // namespace hpm
