#include "hpm/training/finetune.h"

#include "hpm/core/error.h"
#include "hpm/core/random.h"
#include "hpm/models/torchscript.h"
#include "hpm/surrogates/hpm_attack_model.h"
#include "hpm/training/adversarial_training.h"
#include "hpm/training/fit_accuracy.h"

namespace hpm {
namespace {

constexpr int64_t kFeatureBatch = 256;

/// Penultimate features and FC logits of the fitting images: of clean ones, or of those that PGD makes against
/// `attacked`.
struct Collected {
  FeatureSet features;
  Tensor o;
};

Collected collect(const HpmModel& model, const Dataset& data, const FinetuneOptions& options, AttackModel* attacked,
                  const std::string& what, Monitor& monitor) {
  const RandomStreams streams(options.loop.seed);
  const auto chosen = fit_order(data, options).slice(0, 0, options.fit_images);
  const int64_t n = chosen.numel();
  std::vector<Tensor> z, o, y;
  monitor.begin(what, n, "images");
  for (int64_t begin = 0; begin < n; begin += kFeatureBatch) {
    const auto index = chosen.slice(0, begin, std::min(begin + kFeatureBatch, n));
    auto x = data.images(index).to(model.classifier.device());
    const auto labels = data.labels.index_select(0, index).to(x.device());
    if (attacked)
      x = pgd_training_images(*attacked, {x, labels, index}, options.adversary.threat, options.adversary.steps,
                              options.adversary.step(), streams, -1);
    torch::NoGradGuard guard;
    const auto out = model.run(x);
    z.push_back(out.features), o.push_back(out.logits), y.push_back(labels);
    monitor.step(std::min(begin + kFeatureBatch, n));
  }
  monitor.end();
  return {{at::cat(z), at::cat(y)}, at::cat(o)};
}

FeatureSet join(const FeatureSet& a, const FeatureSet& b) { return {at::cat({a.z, b.z}), at::cat({a.y, b.y})}; }

/// Warns where the metric has too few images.
void look_at_fit(const HpmHead& head, const Dataset& data, const FinetuneOptions& options, Monitor& monitor) {
  const auto needed = fit_images_needed(head), available = fit_order(data, options).numel();
  const auto n = std::min(options.fit_images, available);
  if (n >= needed) return;
  monitor.warn(fmt::format(
      "the metric is fitted on {} images; fewer than {} cost clean accuracy (docs/training.md): {}", n, needed,
      n < available ? "raise --fit-images" : "there are no more training images to take (--count may limit them)"));
}

}  // namespace

Tensor fit_order(const Dataset& data, const FinetuneOptions& options) {
  // Only images that training reads too: a held-out part stays unseen, and the control sees the same images.
  const auto& loop = options.loop;
  const auto available = split_images(data.size(), loop.images, loop.validation.images, loop.seed).training;
  return available.index_select(0, RandomStreams(loop.seed).permutation(available.size(0), {"fit images"}));
}

void calibrate(HpmModel& model, const Dataset& data, const FinetuneOptions& options, Monitor& monitor) {
  auto& head = *model.head;
  ClassifierModel fc(model.classifier);
  const auto clean = collect(model, data, options, nullptr, "calibrate, clean", monitor);
  const auto adversarial = collect(model, data, options, &fc, "calibrate, adversarial", monitor);
  const auto hard = hard_assignment(at::cat({clean.o, adversarial.o}));
  const auto statistics = class_statistics(hard, head.prepare(at::cat({clean.features.z, adversarial.features.z})));
  head.calibration_sums = statistics.sums;
  head.calibration_counts = statistics.counts;
}

void attach_head(HpmModel& model, const Dataset& data, const FinetuneOptions& options, Monitor& monitor) {
  require_features(model.classifier, "attach_head");
  HpmHead head{.kind = parse_metric(options.metric),
               .lambda = options.head == "l2" ? 1. : options.lambda,
               .temperature = options.temperature,
               .momentum = options.ema};
  ClassifierModel fc(model.classifier);
  const auto clean = collect(model, data, options, nullptr, "features, clean", monitor);
  if (!clean.o.isfinite().all().item<bool>())
    fail("attach_head: the FC logits hold NaN or infinite values; the weights or the input are broken");
  auto features = join(clean.features, collect(model, data, options, &fc, "features, adversarial", monitor).features);
  head.means = class_means(head, features, model.classifier.classes());
  const MetricFit fit{.rank = options.rank, .steps = options.metric_steps};
  fit_metric(head, features, fit, options.loop.seed, monitor);
  for (int64_t round = 1; round < options.fit_rounds && head.kind == MetricKind::learned; ++round) {
    auto l2 = head;  // the metric is that of the l2 classifier
    l2.lambda = 1;
    HpmAttackModel fitted({model.classifier, l2}, {ContextKind::alone}, hpm_surrogate("stable"));
    features = join(features, collect(model, data, options, &fitted,
                                      fmt::format("features, adversarial to the head, round {}", round + 1), monitor)
                                  .features);
    fit_metric(head, features, fit, options.loop.seed + static_cast<uint64_t>(round), monitor);
  }
  if (options.tau) head.log_tau = torch::tensor(std::log(*options.tau), features.z.options());
  model.head = std::move(head);
}

void check_finetune(const HpmModel& model, const Dataset& data, const FinetuneOptions& options) {
  require_features(model.classifier, "finetune");
  make_method(options.method);
  check_training(data, model.classifier.classes(), options.loop);
  if (options.head == "fc") return;
  const auto fitted = data.labels.index_select(0, fit_order(data, options).slice(0, 0, options.fit_images));
  require_every_class(at::bincount(fitted, {}, model.classifier.classes()));
  if (parse_metric(options.metric) == MetricKind::learned && options.rank > 0)
    require_rank(options.rank, model.classifier.feature_size());
}

HpmModel finetune(HpmModel model, const Dataset& data, const FinetuneOptions& options, Monitor& monitor,
                  const std::function<void(const EpochReport&)>& after_epoch) {
  const bool control = options.head == "fc";
  require_features(model.classifier, "finetune");
  model = model.clone();
  if (control) {
    model.head.reset();
  } else {
    attach_head(model, data, options, monitor);
    look_at_fit(*model.head, data, options, monitor);
    if (options.loop.epochs > 0) monitor.say("the head after fitting: " + head_accuracy(model, data, options).text());
  }
  if (options.loop.epochs > 0) {
    const auto& [adversary, method, seed] = std::tie(options.adversary, options.method, options.loop.seed);
    std::unique_ptr<Objective> objective;
    if (control) objective = std::make_unique<AdversarialTraining>(model, adversary, seed, method);
    else objective = std::make_unique<HpmFineTuning>(model, options.training, adversary, seed, method);
    objective = with_awp(std::move(objective), options.awp);
    auto loop = options.loop;
    loop.threat = adversary.threat;
    train(*objective, data, loop, monitor, after_epoch);
    model = objective->model();
  }
  model.classifier.set_requires_grad(false);
  if (!control) {
    model.head = model.head->clone();
    calibrate(model, data, options, monitor);
    monitor.say("the head in the reference context: " + head_accuracy(model, data, options).text());
  }
  return model;
}

}  // namespace hpm
