// defines: PgdAt
#pragma once
#include "hpm/training/objectives/method.h"

namespace hpm {

/// Adversarial training (Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018,
/// arXiv:1706.06083): the cross-entropy on PGD images.
///
///     L = CE(f(x'), y),   x' by `steps` steps of PGD on CE from a uniform point of the ball
class PgdAt : public TrainingMethod {
 public:
  explicit PgdAt(const MethodOptions& options) : smoothing_(options.label_smoothing) {}
  Tensor search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                const RandomStreams& streams) const override;
  Tensor loss(const LossInput& input) const override;

 private:
  double smoothing_;
};

}  // namespace hpm
