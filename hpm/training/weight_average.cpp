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

namespace {

/// A layer's running statistics, and those that wait for their turn in its place.
struct Statistics {
  torch::nn::BatchNorm2dImpl* norm;
  Tensor mean, var;  // waiting
  c10::optional<double> momentum;

  void exchange() {
    torch::NoGradGuard guard;
    const auto was_mean = norm->running_mean.clone(), was_var = norm->running_var.clone();
    norm->running_mean.copy_(mean), norm->running_var.copy_(var);
    mean = was_mean, var = was_var;
  }
};

void exchange(std::vector<Statistics>& all) {
  for (auto& one : all) one.exchange();
}

}  // namespace

void reestimate_batch_norm(Objective& objective, const std::vector<TrainingBatch>& batches) {
  // Passes in evaluation mode would leave mean 0 and variance 1, from which the new statistics start.
  if (batches.empty() || !objective.moves_statistics()) return;
  std::vector<Statistics> all;
  for (const auto& module : objective.model().classifier.network()->modules())
    if (auto* norm = module->as<torch::nn::BatchNorm2dImpl>(); norm && norm->running_mean.defined()) {
      all.push_back(
          {norm, at::zeros_like(norm->running_mean), at::ones_like(norm->running_var), norm->options.momentum()});
      norm->num_batches_tracked.zero_();
      norm->options.momentum(c10::nullopt);  // the mean of all batches since
    }
  // An objective keeps what its adversary saw of a batch, so each loss follows its own batch's adversary. This one
  // reads the statistics that are replaced, the loss moves the new ones.
  for (const auto& batch : batches) {
    const auto images = objective.adversarial(batch);
    exchange(all);
    objective.unperturbed().loss(batch, images);
    exchange(all);
  }
  exchange(all);
  for (auto& [norm, mean, var, momentum] : all) norm->options.momentum(momentum);
}

}  // namespace hpm
