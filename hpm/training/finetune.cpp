#include "hpm/training/finetune.h"

#include "hpm/core/error.h"
#include "hpm/models/torchscript.h"
#include "hpm/surrogates/hpm_attack_model.h"
#include "hpm/training/adversarial_training.h"

namespace hpm {
namespace {

constexpr int64_t kFeatureBatch = 256;

/// Penultimate features and FC logits of the fitting images, clean and under PGD on each of `attacked` (none: clean
/// alone).
struct Collected {
  FeatureSet features;
  Tensor o;
};

Collected collect(const HpmModel& model, const Dataset& data, const FinetuneOptions& options, AttackModel* attacked,
                  const std::string& what, Monitor& monitor) {
  const RandomStreams streams(options.loop.seed);
  // The images that training reads, and no others: a held-out part stays unseen, and the control sees the same.
  const auto& loop = options.loop;
  const auto available = split_images(data.size(), loop.images, loop.validation.images, loop.seed).training;
  const int64_t n = std::min(options.fit_images, available.size(0));
  const auto chosen =
      available.index_select(0, streams.permutation(available.size(0), {"fit images"}).slice(0, 0, n));
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

}  // namespace

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
  auto features = join(clean.features, collect(model, data, options, &fc, "features, adversarial", monitor).features);
  head.means = class_means(head, features, model.classifier.classes());
  const MetricFit fit{.rank = options.rank, .steps = options.metric_steps};
  fit_metric(head, features, fit, options.loop.seed, monitor);
  for (int64_t round = 1; round < options.fit_rounds && head.kind == MetricKind::learned; ++round) {
    HpmAttackModel fitted({model.classifier, head}, {{ContextKind::alone}, 1.}, find_surrogate("stable"));
    features = join(features, collect(model, data, options, &fitted,
                                      fmt::format("features, adversarial to the head, round {}", round + 1), monitor)
                                  .features);
    fit_metric(head, features, fit, options.loop.seed + static_cast<uint64_t>(round), monitor);
  }
  if (options.tau) head.log_tau = torch::tensor(std::log(*options.tau), features.z.options());
  model.head = std::move(head);
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
  }
  return model;
}

}  // namespace hpm
