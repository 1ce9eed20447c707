#include "hpm/gauntlet/prototypes.h"

#include "hpm/defences/hpm_defence.h"

namespace hpm::gauntlet {
namespace {

/// The base with a head from the training features: exact class means, no metric.
HpmModel with_head(const GauntletSetting& s) {
  torch::NoGradGuard guard;
  const auto z = s.base.features(s.training.x), o = s.base.head(z);
  const auto sums_of = [&](const Tensor& labels) {
    const auto members = at::one_hot(labels, s.base.classes()).to(z.scalar_type());
    return std::pair{members.t().matmul(z), members.sum(0)};
  };
  const auto [sums, counts] = sums_of(s.training.y);
  HpmHead head;
  head.means = sums / counts.clamp_min(1).unsqueeze(1);
  std::tie(head.calibration_sums, head.calibration_counts) = sums_of(o.argmax(1));
  head.log_tau = at::cdist(z, head.means).pow(2).mean().div(10).log();
  head.lambda = .5;
  return {s.base, head};
}

GauntletEntry in_context(GauntletEntry entry, const std::string& context) {
  entry.defence = [context](const GauntletSetting& s) -> std::unique_ptr<Defence> {
    return std::make_unique<HpmDefence>(with_head(s), s.images, DefenceOptions{.contexts = {context}});
  };
  entry.twins = [](const GauntletSetting& s) {
    const auto model = with_head(s);
    const auto own = [model](const Tensor& x) {
      const auto pass = model.run(x);
      return reference_logits(*model.head, model.head->embed(pass.features));
    };
    return std::vector<PredictionFunction>{plain_prediction(s.base), plain_prediction(s.base.classes(), own)};
  };
  return entry;
}

}  // namespace

GauntletEntry hpm_alone() {
  return in_context({"hpm-alone",
                     "the assignment of a sample moves its own prototype: the straight-through gradient "
                     "does not see it",
                     "Wang, arXiv:2606.01746",
                     false,
                     {Cause::masked, Cause::shattered}},
                    "alone");
}

GauntletEntry hpm_reference() {
  return in_context(
      {"hpm-reference", "prototypes from stored statistics: a linear layer", "Wang, arXiv:2606.01746", true},
      "reference");
}

}  // namespace hpm::gauntlet
