#include "hpm/evaluation/checks/input_warnings.h"

#include <cmath>

#include "hpm/attacks/kept_pass.h"
#include "hpm/core/error.h"
#include "hpm/core/kept_generator_impl.h"
#include "hpm/defences/hpm_defence.h"

namespace hpm {
namespace {

// Attacks compare losses, and verdicts margins, that are a thousandth of the logits' range and less.
constexpr double kCoarse = 1e-3;
// Beyond guessing, of the way to 100 %: a network that sees other inputs than in training seldom gets further.
constexpr double kHardly = .1;
constexpr int64_t kFewImages = 20;  // fewer tell little about an accuracy

/// The distance between neighbouring float32 numbers at the size of each row's largest logit, [n].
Tensor spacing(const Tensor& logits) {
  const auto largest = logits.abs().amax(1);
  const auto above = at::nextafter(largest, at::full_like(largest, std::numeric_limits<float>::infinity()));
  return above - largest;
}

}  // namespace

bool are_probabilities(const Tensor& logits) {
  const bool sums = (logits.sum(1) - 1).abs().le(1e-3).all().item<bool>();
  return sums && logits.ge(0).all().item<bool>() && (logits.gt(0) & logits.lt(1)).any().item<bool>();
}

Tensor clean_fc_logits(const HpmModel& model, const ImageSet& images, int64_t batch_size, const WorkLog& log) {
  if (model.head) return clean_pass(model, images, batch_size, log).logits;
  const KeptGenerator generator;
  const auto pass = [&](const Images& batch) -> NamedTensors {
    torch::NoGradGuard guard;
    return {{"logits", model.classifier.logits(batch.x)}};
  };
  const auto kept = kept_pass(log, "clean logits", images, consecutive_batches(images.size(), batch_size), pass);
  return find_tensor(kept, "logits").to(images.y.device());
}

std::string NotFiniteLogits::text() const {
  return fmt::format("the logit of image {}, class {}, is NaN or infinite ({} logits of {} images are)", image, label,
                     values, images);
}

std::optional<NotFiniteLogits> not_finite(const Tensor& logits, const Tensor& index) {
  const auto places = logits.isfinite().logical_not().to(at::kCPU).nonzero();
  if (places.size(0) == 0) return std::nullopt;
  return NotFiniteLogits{.values = places.size(0),
                         .images = std::get<0>(at::_unique(places.select(1, 0))).numel(),
                         .image = index[places[0][0].item<int64_t>()].item<int64_t>(),
                         .label = places[0][1].item<int64_t>()};
}

std::vector<std::string> logits_warnings(const Tensor& logits, const Tensor& labels) {
  std::vector<std::string> lines;
  if (logits.size(0) == 0 || !logits.isfinite().all().item<bool>()) return lines;
  if (are_probabilities(logits))
    lines.push_back(
        "the model gives probabilities (non-negative rows that sum to 1): attacks need logits, the values before the "
        "softmax, and may see no gradient");
  const auto range = logits.amax(1) - logits.amin(1);
  const auto coarse = (spacing(logits) / range.clamp_min(1e-30)).median().item<double>();
  if (logits.scalar_type() == at::kFloat && range.gt(0).any().item<bool>() && coarse > kCoarse)
    lines.push_back(fmt::format(
        "the logits are so large ({:.3g}) that float32 numbers there are {:.3g} apart, while classes differ "
        "by {:.3g}: ties decide predictions, and attacks see steps; subtract what all classes have in common",
        logits.abs().amax(1).median().item<double>(), spacing(logits).median().item<double>(),
        range.median().item<double>()));
  const auto n = logits.size(0);
  const double guessing = 100. / static_cast<double>(logits.size(1)),
               accuracy = percent(logits.argmax(1).eq(labels.to(logits.device())));
  if (n >= kFewImages && accuracy <= guessing + kHardly * (100 - guessing))
    lines.push_back(
        fmt::format("the clean accuracy, {:.1f} %, is hardly better than guessing among {} classes: another "
                    "normalisation (--mean, --std), other labels or another order of the classes than in training?",
                    accuracy, logits.size(1)));
  return lines;
}

std::vector<std::string> look_before_attacks(const HpmModel& model, const ImageSet& images, int64_t batch_size,
                                             const WorkLog& log) {
  return look_before_attacks(clean_fc_logits(model, images, batch_size, log), images, model.classifier.info().file);
}

std::vector<std::string> look_before_attacks(const Tensor& logits, const ImageSet& images, const std::string& whose) {
  if (const auto bad = not_finite(logits, images.index))
    fail(
        "{}: {}: nothing that an attack finds would mean anything. Mend the weights or the input, or leave the images "
        "out (--indices); --protocol clean gives the accuracy as it is",
        whose, bad->text());
  return logits_warnings(logits, images.y);
}

std::vector<std::string> look_at_verdicts(const HpmModel& model, const ImageSet& images, int64_t batch_size,
                                          const WorkLog& log, Evaluation& evaluation) {
  std::vector<std::pair<std::string, Tensor>> all;
  if (model.head) all.emplace_back("FC", clean_fc_logits(model, images, batch_size, log));
  for (const auto& c : evaluation.contexts) all.emplace_back(c.context, c.clean_logits);
  for (const auto& [context, logits] : all)
    if (const auto bad = not_finite(logits, images.index))
      evaluation.checks.push_back({.name = "NaN or infinite",
                                   .status = CheckOutcome::Status::failed,
                                   .value = static_cast<double>(bad->values),
                                   .limit = 0.,
                                   .unit = "values",
                                   .detail = bad->text(),
                                   .context = context});
  return logits_warnings(all.front().second, images.y);
}

std::vector<std::string> threat_warnings(const std::vector<ThreatModel>& radii) {
  std::vector<std::string> lines;
  for (const auto& [norm, eps] : radii)
    if (norm == Norm::linf && eps >= 1)
      lines.push_back(fmt::format("Linf eps {:g} allows every image: the input range is [0,1]{}", eps,
                                  eps > 1 ? fmt::format("; {:g} means {:g}/255?", eps, eps) : std::string()));
  return lines;
}

}  // namespace hpm
