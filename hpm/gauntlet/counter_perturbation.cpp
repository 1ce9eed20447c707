#include "hpm/gauntlet/counter_perturbation.h"

#include "hpm/core/torch_impl.h"

namespace hpm::gauntlet {
namespace {

constexpr int kSteps = 2;
constexpr double kLength = .05;

/// x moved down the gradient of the cross-entropy at the predicted class; no gradient leads through it.
Tensor countered(const Classifier& net, const Tensor& x) {
  auto moved = x.detach();
  Tensor label;
  for (int i = 0; i < kSteps; ++i) {
    const at::AutoGradMode gradients(true);
    const auto leaf = moved.detach().requires_grad_();
    const auto logits = net.logits(leaf);
    if (!label.defined()) label = logits.detach().argmax(1);
    const auto loss = at::cross_entropy_loss(logits, label, {}, at::Reduction::Sum);
    moved = (moved - kLength * torch::autograd::grad({loss}, {leaf})[0].sign()).clamp(0., 1.).detach();
  }
  return moved;
}

}  // namespace

GauntletEntry counter_perturbation() {
  GauntletEntry entry{"counter-perturbation",
                      "an optimiser inside moves the image back before it predicts",
                      "Alfarra et al. (Anti-adversary), arXiv:2103.14347; Croce et al., arXiv:2202.13711",
                      false,
                      {Cause::optimiser}};
  // The image that is looked at keeps the gradient of the one that was given.
  const auto logits = [](const Classifier& net, const Tensor& x) {
    const auto moved = countered(net, x);
    return net.logits(moved + 0 * x);
  };
  entry.prediction = [logits](const GauntletSetting& s) {
    return plain_prediction(s.base.classes(), [net = s.base, logits](const Tensor& x) { return logits(net, x); });
  };
  entry.twins = [](const GauntletSetting& s) {
    const auto bpda = [net = s.base](const Tensor& x) { return net.logits(through(countered(net, x), x)); };
    return std::vector<PredictionFunction>{plain_prediction(s.base), plain_prediction(s.base.classes(), bpda)};
  };
  return entry;
}

}  // namespace hpm::gauntlet
