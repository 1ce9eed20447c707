#include "hpm/training/weight_average.h"

#include <torch/nn/modules/batchnorm.h>

#include "hpm/core/error.h"
#include "hpm/models/network.h"

namespace hpm {

void fields(Fields& f, AverageOptions& o, const std::string& name) {
  f.section("average");
  f.add(name, o.decay, "average of the weights: share of it that a step keeps, e.g. .995 (0: no average)",
        {.min = 0, .max = 1});
  f.add("average-from", o.from, "share of the run at which averaging begins", {.min = 0, .max = 1});
  f.add("bn-batches", o.batches, "batches that re-estimate batch norm's statistics for the average", {.min = 0});
}

std::vector<std::pair<std::string, Tensor>> state_to_average(const HpmModel& model) {
  std::vector<std::pair<std::string, Tensor>> all;
  for (auto& item : model.state())
    if (item.second.is_floating_point() && item.first != "hpm.lambda" && !item.first.starts_with("hpm.calibration"))
      all.push_back(std::move(item));
  return all;
}

WeightAverage::WeightAverage(const HpmModel& model, double decay) : decay_(decay) {
  require(decay >= 0 && decay < 1, "average: needs a decay from 0 to below 1, but got {}", decay);
  for (const auto& [name, tensor] : state_to_average(model)) average_.emplace_back(name, tensor.detach().clone());
}

void WeightAverage::update(const HpmModel& model, bool follow) {
  torch::NoGradGuard guard;
  const auto t = static_cast<double>(steps_);
  const double d = follow ? 0 : std::min(decay_, (1 + t) / (10 + t));
  if (!follow) ++steps_;
  const auto now = state_to_average(model);
  for (size_t i = 0; i < now.size(); ++i) average_[i].second.mul_(d).add_(now[i].second, 1 - d);
}

void WeightAverage::restore(const std::map<std::string, Tensor>& stored, int64_t steps) {
  for (auto& [name, tensor] : average_) {
    const auto found = stored.find(name);
    if (found == stored.end()) fail("average: the stored state has no tensor {}", name);
    tensor.copy_(found->second);
  }
  steps_ = steps;
}

void copy_into(HpmModel& model, const std::vector<std::pair<std::string, Tensor>>& values) {
  torch::NoGradGuard guard;
  const std::map<std::string, Tensor> by_name(values.begin(), values.end());
  for (auto& [name, tensor] : model.state())
    if (const auto found = by_name.find(name); found != by_name.end()) tensor.copy_(found->second);
}

StateSwap::StateSwap(HpmModel& model, const std::vector<std::pair<std::string, Tensor>>& values) {
  // Also what `values` lacks: re-estimation counts batches.
  for (const auto& [name, tensor] : model.state()) before_.emplace_back(tensor, tensor.detach().clone());
  copy_into(model, values);
}
StateSwap::~StateSwap() {
  torch::NoGradGuard guard;
  for (auto& [tensor, before] : before_) tensor.copy_(before);
}

void reestimate_batch_norm(Objective& objective, const std::vector<TrainingBatch>& batches) {
  // Passes in evaluation mode would leave mean 0 and variance 1, to which the statistics are reset.
  if (!objective.moves_statistics()) return;
  std::vector<std::pair<torch::nn::BatchNorm2dImpl*, c10::optional<double>>> norms;
  for (const auto& module : objective.model().classifier.network()->modules())
    if (auto* norm = module->as<torch::nn::BatchNorm2dImpl>(); norm && norm->running_mean.defined())
      norms.emplace_back(norm, norm->options.momentum());
  if (norms.empty() || batches.empty()) return;
  // The adversaries come first: they read the statistics that are replaced.
  std::vector<Tensor> images;
  for (const auto& batch : batches) images.push_back(objective.adversarial(batch));
  for (auto& [norm, momentum] : norms) {
    torch::NoGradGuard guard;
    norm->reset_running_stats();
    norm->options.momentum(c10::nullopt);  // the mean of all batches since
  }
  for (size_t i = 0; i < batches.size(); ++i) objective.unperturbed().loss(batches[i], images[i]);
  for (auto& [norm, momentum] : norms) norm->options.momentum(momentum);
}

}  // namespace hpm
