#include "hpm/training/optimizer.h"

#include <torch/optim.h>
#include <torch/serialize.h>

#include <cstring>
#include <sstream>

#include "hpm/core/error.h"

namespace hpm {

void fields(Fields& f, OptimizerOptions& o) {
  f.section("optimizer");
  f.add("optimizer", o.optimizer, "optimiser", {.choices = {"adam", "sgd"}});
  f.add("lr", o.lr, "highest learning rate", {.min = 0, .max = 1000});
  f.add("schedule", o.schedule, "learning rate over the run", {.choices = {"cosine", "constant", "step", "linear"}});
  f.add("warmup", o.warmup, "steps from 0 to the highest rate", {.min = 0});
  f.add("momentum", o.momentum, "momentum of SGD", {.min = 0, .max = 1});
  f.add("weight-decay", o.weight_decay, "weight decay", {.min = 0});
}

double learning_rate(const OptimizerOptions& o, int64_t step, int64_t total) {
  if (step < o.warmup) return o.lr * static_cast<double>(step + 1) / static_cast<double>(o.warmup + 1);
  const double part = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(total, 1));
  if (o.schedule == "cosine") return o.lr * .5 * (1 + std::cos(M_PI * part));
  if (o.schedule == "linear") return o.lr * (1 - part);
  if (o.schedule == "step") return o.lr * (part < .5 ? 1 : part < .75 ? .1 : .01);
  return o.lr;
}

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<Tensor> parameters)
    : options_(options), parameters_(std::move(parameters)) {
  if (options.optimizer == "adam")
    optimizer_ = std::make_unique<torch::optim::Adam>(
        parameters_, torch::optim::AdamOptions(options.lr).weight_decay(options.weight_decay));
  else
    optimizer_ = std::make_unique<torch::optim::SGD>(
        parameters_,
        torch::optim::SGDOptions(options.lr).momentum(options.momentum).weight_decay(options.weight_decay));
}
Optimizer::~Optimizer() = default;

void Optimizer::step(const Tensor& loss, int64_t step, int64_t total) {
  for (auto& group : optimizer_->param_groups()) group.options().set_lr(learning_rate(options_, step, total));
  optimizer_->zero_grad();
  loss.backward();
  optimizer_->step();
}

Tensor Optimizer::state() const {
  std::ostringstream out;
  torch::save(*optimizer_, out);
  const auto text = out.str();
  auto bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::memcpy(bytes.data_ptr(), text.data(), text.size());
  return bytes;
}

void Optimizer::restore(const Tensor& state) {
  const auto bytes = state.contiguous();
  std::istringstream in(std::string(static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(bytes.numel())));
  try {
    torch::load(*optimizer_, in);
  } catch (const c10::Error& error) {
    fail("Optimizer: the stored state does not fit: {}", error.what_without_backtrace());
  }
}

}  // namespace hpm
