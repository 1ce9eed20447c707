#include "hpm/evaluation/checks/gradient_fidelity.h"

#include <limits>

namespace hpm {
namespace {

constexpr double kChange = .01;     // of the logits' spread: how much a step h is to change the margin
constexpr double kOff = .5;         // a quotient that differs from the slope by more than this share of it
constexpr double kAgree = .25;      // quotients that differ from each other by less than this share are one slope
constexpr double kSmallest = 1e-5;  // float32 pixels near 1 are 6e-8 apart

}  // namespace

GradientFidelity gradient_fidelity(AttackModel& model, const Images& sample, double largest) {
  const auto logits = model.ask({sample.x, sample.index}, nullptr).target_logits;
  const auto runner_up = logits.scatter(1, sample.y.unsqueeze(1), -std::numeric_limits<float>::infinity()).argmax(1);
  const Loss loss{LossKind::difference, sample.y, runner_up};
  const auto gradient = model.ask({sample.x, sample.index}, &loss).gradient;
  const auto flat = [](const Tensor& t) { return t.flatten(1); };
  const auto row = [&](const Tensor& t) { return per_row(t, sample.x); };
  // A pixel that a step would take out of [0,1] stays where it is.
  const auto smallest_room = at::min(sample.x, 1 - sample.x);
  auto direction = gradient.sign() * smallest_room.ge(largest).to(gradient.scalar_type());
  const auto slope = flat(gradient * direction).sum(1).to(at::kDouble);
  const auto spread = logit_spread(logits).to(at::kDouble);
  const auto right = logits.argmax(1).eq(sample.y);
  const auto looked_at = right & slope.gt(0) & slope.isfinite();
  const auto step = (kChange * spread / slope.clamp_min(1e-30)).clamp(kSmallest, largest);
  const auto margin_at = [&](const Tensor& h) {
    const auto x = sample.x + row(h.to(sample.x.scalar_type())) * direction;
    const auto z = model.ask({x, sample.index}, nullptr).target_logits.to(at::kDouble);
    return z.gather(1, runner_up.unsqueeze(1)).squeeze(1) - z.gather(1, sample.y.unsqueeze(1)).squeeze(1);
  };
  std::vector<Tensor> quotients;
  for (const double share : {1., .5, .25}) {
    const auto h = step * share;
    quotients.push_back((margin_at(h) - margin_at(-h)) / (2 * h));
  }
  const auto all = at::stack(quotients);
  const auto finest = quotients.back(), size = all.abs().amax(0);
  const auto off = (finest - slope).abs().gt(kOff * slope) & looked_at;
  const auto still = size.le(1e-3 * slope);
  const auto agree = (all.amax(0) - all.amin(0)).le(kAgree * size) & still.logical_not();
  const auto count = [](const Tensor& flags) { return flags.sum().item<int64_t>(); };
  GradientFidelity found{.images = count(looked_at)};
  found.flat = count(off & still), found.other = count(off & agree);
  found.shattered = count(off) - found.flat - found.other;
  const auto ratios = (finest / slope).index({looked_at});
  if (ratios.numel() > 0) found.median_ratio = ratios.median().item<double>();
  return found;
}

}  // namespace hpm
