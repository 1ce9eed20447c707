// A small model with an HPM head whose context makes a difference.
#pragma once
#include "hpm/attacks/images.h"
#include "hpm/models/registry.h"
#include "hpm/prototypes/model.h"
#include "support/support.h"

namespace hpm::test {

inline HpmModel tiny_model(double lambda = .4, at::ScalarType type = at::kDouble) {
  HpmModel model{make_classifier("conv6k3s2p1-relu-flatten-fc8-relu-fc5", 5, {3, 8, 8}, {}, 11),
                 HpmHead{.lambda = lambda}};
  torch::NoGradGuard guard;
  model.classifier.weight().mul_(6);
  auto& head = *model.head;
  const auto x = fill_rule(60 * 192, 5).view({60, 3, 8, 8}).to(at::kFloat);
  const auto out = model.run(x);
  const auto hard = hard_assignment(out.logits);
  const auto statistics = class_statistics(hard, out.features);
  head.calibration_sums = statistics.sums, head.calibration_counts = statistics.counts;
  head.means = .7 * (statistics.sums / statistics.counts.clamp_min(1).unsqueeze(1)) +
               .1 * fill_rule(40, 6).view({5, 8}).to(at::kFloat);
  head.log_tau = torch::tensor(std::log(.05f));
  model.to(at::kCPU, type);
  return model;
}

inline Tensor tiny_images(int64_t n, int64_t t, at::ScalarType type = at::kDouble) {
  return fill_rule(n * 192, t).view({n, 3, 8, 8}).to(type);
}

/// The first n of them, all as the classifier has them.
inline Images tiny_labelled_images(const Classifier& classifier, int64_t n) {
  const auto x = tiny_images(n, 1, at::kFloat);
  return {x, classifier.logits(x).argmax(1), at::arange(n)};
}

}  // namespace hpm::test
