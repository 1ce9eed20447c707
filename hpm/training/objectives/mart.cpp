#include "hpm/training/objectives/mart.h"

namespace hpm {

Tensor Mart::search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                    const RandomStreams& streams) const {
  return climb(start_near(batch, streams), batch, options,
               [&](const Tensor& x, int64_t i) { return cross_entropy_gradient(victim, batch, x, i); });
}

Tensor Mart::loss(const LossInput& input) const {
  const auto label = input.batch.y.unsqueeze(1);
  const auto p = input.clean.softmax(1), q = input.adversarial.softmax(1);
  // The most probable class that is not the label.
  const auto rival = q.detach().scatter(1, label, -1.).argmax(1, true);
  const auto margin = -(1.0001 - q.gather(1, rival) + 1e-12).log().mean();
  // xlogy: 0 where p underflows to 0.
  const auto divergence = (at::xlogy(p, p) - p * (q + 1e-12).log()).sum(1, true);
  const auto wrong = 1.0000001 - p.gather(1, label);
  return cross_entropy(input.adversarial, input.batch, smoothing_) + margin + beta_ * (divergence * wrong).mean();
}

}  // namespace hpm
