#include "hpm/evaluation/fast/alarms.h"

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/pgd.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/gradient_probe.h"
#include "hpm/evaluation/input_warnings.h"

namespace hpm {
namespace {

AlarmResult alarm(std::string name, double value, double limit, std::string unit, std::string evidence) {
  return {std::move(name), value, limit, std::move(unit), value > limit, std::move(evidence)};
}

AlarmResult not_looked_at(std::string name, std::string why) {
  return {.name = std::move(name), .evidence = std::move(why)};
}

/// Rows whose logits differ by more than a share of their range; NaN differs from everything.
int64_t rows_that_differ(const Tensor& a, const Tensor& b, double share) {
  const auto range = (a.amax(1) - a.amin(1)).clamp_min(1e-30);
  const auto apart = (a - b).abs().amax(1);
  return apart.le(share * range).logical_not().sum().item<int64_t>();
}

Tensor logits_of(AttackModel& model, const Images& images) {
  torch::NoGradGuard guard;
  return model.ask({images.x, images.index}, nullptr).target_logits;
}

}  // namespace

AlarmResult zero_gradient_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                                const RandomStreams& streams) {
  const std::string name = "zero gradients";
  if (images.size() == 0) return not_looked_at(name, "no image is classified correctly");
  auto at_start = images;
  at_start.x = apgd_start(images, threat, streams, {"alarm start"}).x;
  std::vector<std::string> each;
  double most = 0;
  for (const auto kind : {LossKind::ce, LossKind::dlr}) {
    if (kind == LossKind::dlr && model.classes() < 3) continue;
    const auto zero = percent(blind_rows(model, at_start, kind));
    most = std::max(most, zero);
    each.push_back(fmt::format("{:.1f} % in {}", zero, kind == LossKind::ce ? "the cross-entropy" : "DLR"));
  }
  return alarm(name, most, 5, "%",
               fmt::format("of {} images at a random start: {}", images.size(), fmt::join(each, ", ")));
}

AlarmResult still_loss_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                             const RandomStreams& streams) {
  const std::string name = "loss that does not move";
  if (images.size() == 0) return not_looked_at(name, "no image is classified correctly");
  auto here = images;
  here.x = apgd_start(images, threat, streams, {"alarm start"}).x;
  const auto runner_up =
      logits_of(model, here).scatter(1, images.y.unsqueeze(1), -std::numeric_limits<double>::infinity()).argmax(1);
  const Loss loss{LossKind::difference, images.y, runner_up};
  const auto before = model.ask({here.x, here.index}, &loss);
  auto there = images;
  there.x = project(here.x + threat.eps / 4 * steepest_direction(before.gradient, threat.norm), images.x, threat);
  const auto gained = loss_values(logits_of(model, there), loss) - loss_values(before.target_logits, loss);
  const auto still = gained.gt(0).logical_not();
  return alarm(name, percent(still), 10, "%",
               fmt::format("a step of eps / 4 up its gradient did not raise it for {} of {} images",
                           still.sum().item<int64_t>(), images.size()));
}

AlarmResult random_alarm(AttackModel& model, const Images& images) {
  if (images.size() == 0) return not_looked_at("random", "there are no images");
  const auto differ = rows_that_differ(logits_of(model, images), logits_of(model, images), 1e-4);
  return alarm("random", static_cast<double>(differ), 0, "images",
               fmt::format("{} of {} images got other logits when they were asked again", differ, images.size()));
}

AlarmResult coupled_alarm(AttackModel& model, const Images& images) {
  if (images.size() < 2) return not_looked_at("coupled batch", "it needs two images");
  const auto half = images.select(at::arange((images.size() + 1) / 2));
  const auto together = logits_of(model, images).slice(0, 0, half.size());
  const auto differ = rows_that_differ(together, logits_of(model, half), 1e-3);
  return alarm("coupled batch", static_cast<double>(differ), 0, "images",
               fmt::format("{} of {} images got other logits in a smaller batch", differ, half.size()));
}

AlarmResult probabilities_alarm(const Tensor& clean_logits) {
  if (clean_logits.size(0) == 0) return not_looked_at("probabilities", "there are no images");
  const bool seen = are_probabilities(clean_logits);
  return alarm("probabilities", seen, 0, "",
               seen ? "all rows of logits are non-negative and sum to 1: the softmax hides gradients"
                    : "the logits do not look like probabilities");
}

AlarmResult steps_alarm(int64_t left_by_10, int64_t left_by_50, int64_t images) {
  const std::string name = "PGD-10 against PGD-50";
  if (images == 0) return not_looked_at(name, "no image is classified correctly");
  // Of few images, two are more than 3 points: by chance.
  const double points = 100. / static_cast<double>(images), limit = std::max(3., 2 * points);
  return alarm(name, static_cast<double>(left_by_10 - left_by_50) * points, limit, "points",
               fmt::format("of {} images 10 steps left {}, 50 steps {}", images, left_by_10, left_by_50));
}

AlarmResult stand_in_alarm(const std::string& surrogate) {
  return alarm("stand-in gradient", !surrogate.empty(), 0, "",
               surrogate.empty() ? "the gradient is the prediction's own"
                                 : fmt::format("the gradient is that of the surrogate {}, not the prediction's own; "
                                               "--protocol msa attacks through several",
                                               surrogate));
}

AlarmResult beyond_alarm(const std::string& name, const StageResult* stage, const std::string& missing) {
  if (!missing.empty() || !stage) return not_looked_at(name, missing);
  if (stage->attacked == 0 && stage->images > 0) return not_looked_at(name, "the time was up");
  return alarm(name, static_cast<double>(stage->broke), 0, "images",
               fmt::format("{} broke {} of {} survivors", stage->attack, stage->broke, stage->attacked));
}

}  // namespace hpm
