#include "hpm/training/objectives/one_step.h"

namespace hpm {
namespace {

Images images_of(const TrainingBatch& batch) { return {batch.x, batch.y, batch.index}; }

/// One step of length `alpha` from `start`, not projected.
Tensor step_from(const Tensor& start, double alpha, const Victim& victim, const TrainingBatch& batch, Norm norm) {
  return start + alpha * steepest_direction(cross_entropy_gradient(victim, batch, start, 0), norm);
}

}  // namespace

Tensor NoiseFgsm::search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                         const RandomStreams& streams) const {
  const auto& threat = options.threat;
  const auto start =
      point_in_ball(images_of(batch), {threat.norm, noise_ * threat.eps}, streams, {"training start", batch.epoch});
  return step_from(start, options.step_size.value_or(threat.eps), victim, batch, threat.norm).clamp_(0., 1.);
}

Tensor NoiseFgsm::loss(const LossInput& input) const {
  return cross_entropy(input.adversarial, input.batch, smoothing_);
}

Tensor RandomStartFgsm::search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                               const RandomStreams& streams) const {
  const auto& threat = options.threat;
  const auto start = point_in_ball(images_of(batch), threat, streams, {"training start", batch.epoch});
  const double alpha = options.step_size.value_or(1.25 * threat.eps);
  return project(step_from(start, alpha, victim, batch, threat.norm), batch.x, threat);
}

Tensor RandomStartFgsm::loss(const LossInput& input) const {
  return cross_entropy(input.adversarial, input.batch, smoothing_);
}

Tensor RandomStartFgsm::regulariser(Classifier& classifier, const TrainingBatch& batch, const AdversaryOptions& options,
                                    const RandomStreams& streams) const {
  if (grad_align_ == 0) return {};
  auto exact = options;
  exact.precision = "float32";  // it is differentiated twice
  const TrainingPasses mode(classifier, exact);
  const at::AutoGradMode gradients(true);
  const auto gradient = [&](const Tensor& x, bool differentiable) {
    const auto leaf = x.detach().requires_grad_();
    const auto loss = cross_entropy(classifier.logits(leaf), batch, 0);
    return torch::autograd::grad({loss}, {leaf}, {}, c10::nullopt, differentiable)[0].flatten(1);
  };
  const auto near = point_in_ball(images_of(batch), options.threat, streams, {"gradalign start", batch.epoch});
  const auto here = gradient(batch.x, false), there = gradient(near, true);
  return grad_align_ * (1 - at::cosine_similarity(here, there, 1, 1e-12)).mean();
}

}  // namespace hpm
