#include "hpm/training/objectives/pgd_at.h"

namespace hpm {

Tensor PgdAt::search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                     const RandomStreams& streams) const {
  const auto start =
      point_in_ball({batch.x, batch.y, batch.index}, options.threat, streams, {"training start", batch.epoch});
  return climb(start, batch, options,
               [&](const Tensor& x, int64_t i) { return cross_entropy_gradient(victim, batch, x, i); });
}

Tensor PgdAt::loss(const LossInput& input) const { return cross_entropy(input.adversarial, input.batch, smoothing_); }

}  // namespace hpm
