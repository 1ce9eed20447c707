#include "hpm/training/weight_perturbation.h"

#include "hpm/core/error.h"

namespace hpm {
namespace {

/// Running statistics, each with a copy.
std::vector<std::pair<Tensor, Tensor>> copies_of_buffers(const HpmModel& model) {
  std::vector<std::pair<Tensor, Tensor>> all;
  for (const auto& [name, tensor] : model.classifier.state())
    if (!tensor.requires_grad()) all.emplace_back(tensor, tensor.clone());
  return all;
}

void put_back(const std::vector<std::pair<Tensor, Tensor>>& copies) {
  torch::NoGradGuard guard;
  for (const auto& [tensor, before] : copies) tensor.copy_(before);
}

}  // namespace

void fields(Fields& f, AwpOptions& o) {
  f.section("objective");
  f.add("awp", o.gamma, "adversarial weight perturbation: its length over the weight's, e.g. .005 (0: none)",
        {.min = 0, .max = 1});
  f.add("awp-warmup", o.warmup, "first epochs without it", {.min = 0});
}

std::unique_ptr<Objective> with_awp(std::unique_ptr<Objective> objective, const AwpOptions& options) {
  if (options.gamma == 0) return objective;
  return std::make_unique<WeightPerturbation>(std::move(objective), options);
}

WeightPerturbation::WeightPerturbation(std::unique_ptr<Objective> inner, const AwpOptions& options)
    : inner_(std::move(inner)), options_(options) {
  require(options.gamma >= 0 && std::isfinite(options.gamma), "AWP: gamma needs to be at least 0, but is {}",
          options.gamma);
}

/// Moves the weights to w + v. Returns the report at w.
StepReport WeightPerturbation::perturb(const TrainingBatch& batch, const Tensor& x) {
  std::vector<Tensor> weights;
  for (const auto& p : inner_->parameters())
    if (p.requires_grad() && p.dim() >= 2) weights.push_back(p);
  const auto statistics = copies_of_buffers(inner_->model());
  const auto here = inner_->loss(batch, x);
  const auto gradients = torch::autograd::grad({here.loss}, weights, {}, c10::nullopt, false, /*allow_unused=*/true);
  put_back(statistics);
  torch::NoGradGuard guard;
  for (size_t l = 0; l < weights.size(); ++l) {
    if (!gradients[l].defined()) continue;
    originals_.emplace_back(weights[l], weights[l].clone());
    weights[l].add_(gradients[l] * (options_.gamma * weights[l].norm() / (gradients[l].norm() + 1e-20)));
  }
  return here;
}

StepReport WeightPerturbation::loss(const TrainingBatch& batch, const Tensor& x) {
  if (options_.gamma == 0 || batch.epoch < options_.warmup) return inner_->loss(batch, x);
  const auto here = perturb(batch, x);
  try {
    auto report = inner_->loss(batch, x);
    report.loss_here = here.loss.detach(), report.correct_adversarial = here.correct_adversarial;
    return report;
  } catch (...) {
    restore();
    throw;
  }
}

void WeightPerturbation::restore() {
  put_back(originals_);
  originals_.clear();
}

void WeightPerturbation::after_backward() {
  restore();
  inner_->after_backward();
}

}  // namespace hpm
