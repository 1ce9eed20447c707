#include "hpm/training/objectives/trades.h"

namespace hpm {
namespace {

/// KL(softmax(clean) | softmax(adversarial)), summed over classes and rows.
Tensor divergence(const Tensor& adversarial, const Tensor& clean) {
  const auto p = clean.log_softmax(1);
  return (p.exp() * (p - adversarial.log_softmax(1))).sum();
}

}  // namespace

Tensor Trades::search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                      const RandomStreams& streams) const {
  const auto start = start_near(batch, streams);
  if (!victim.classifier)
    return climb(start, batch, options,
                 [&](const Tensor& x, int64_t i) { return cross_entropy_gradient(victim, batch, x, i); });
  // The target goes the climb's own way: a pass whose images take a gradient is a search (bfloat16, fast convolutions),
  // one without is not. At .001 from the image the two differ by more than the network does, and the first gradient
  // would be one of rounding.
  const auto clean = [&] {
    const at::AutoGradMode gradients(true);
    return victim.classifier->logits(batch.x.detach().requires_grad_()).detach();
  }();
  return climb(start, batch, options, [&](const Tensor& x, int64_t) {
    const at::AutoGradMode gradients(true);
    const auto leaf = x.detach().requires_grad_();
    return torch::autograd::grad({divergence(victim.classifier->logits(leaf), clean)}, {leaf})[0];
  });
}

Tensor Trades::loss(const LossInput& input) const {
  const auto n = static_cast<double>(input.clean.size(0));
  return cross_entropy(input.clean, input.batch, smoothing_) + beta_ / n * divergence(input.adversarial, input.clean);
}

}  // namespace hpm
