#include "hpm/training/optimizer.h"

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim.h>
#include <torch/serialize.h>

#include <cstring>
#include <sstream>

#include "hpm/core/error.h"
#include "hpm/core/stamp_impl.h"

namespace hpm {

void fields(Fields& f, OptimizerOptions& o) {
  f.section("optimizer");
  f.add("optimizer", o.optimizer, "optimiser", {.choices = {"adam", "adamw", "sgd"}});
  f.add("lr", o.lr, "highest learning rate", {.min = 0, .max = 1000});
  f.add("schedule", o.schedule, "learning rate over the run",
        {.choices = {"cosine", "constant", "step", "linear", "piecewise", "one-cycle"}});
  f.add("warmup", o.warmup, "steps from 0 to the highest rate", {.min = 0});
  f.add("peak", o.peak, "one-cycle: share of the run at which the rate is highest", {.min = 0, .max = 1});
  f.add("milestones", o.milestones, "piecewise: shares of the run at which the rate falls", {.min = 0, .max = 1});
  f.add("lr-decay", o.decay, "piecewise: factor at each milestone", {.min = 0, .max = 1});
  f.add("momentum", o.momentum, "momentum of SGD", {.min = 0, .max = 1});
  f.add("nesterov", o.nesterov, "Nesterov's momentum");
  f.add("weight-decay", o.weight_decay, "weight decay", {.min = 0});
  f.add("clip-gradient", o.clip, "longest gradient, L2 norm over all weights (0: any)", {.min = 0});
}

double learning_rate(const OptimizerOptions& o, int64_t step, int64_t total) {
  const double part = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(total, 1));
  if (o.schedule == "one-cycle") {
    if (part < o.peak) return o.lr * (.04 + .96 * part / o.peak);
    return o.lr * .5 * (1 + std::cos(M_PI * (part - o.peak) / std::max(1 - o.peak, 1e-12)));
  }
  if (step < o.warmup) return o.lr * static_cast<double>(step + 1) / static_cast<double>(o.warmup + 1);
  if (o.schedule == "cosine") return o.lr * .5 * (1 + std::cos(M_PI * part));
  if (o.schedule == "linear") return o.lr * (1 - part);
  if (o.schedule == "step") return o.lr * (part < .5 ? 1 : part < .75 ? .1 : .01);
  if (o.schedule == "piecewise") {
    const auto passed = std::count_if(o.milestones.begin(), o.milestones.end(), [&](double m) { return part >= m; });
    return o.lr * std::pow(o.decay, passed);
  }
  return o.lr;
}

namespace {

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const OptimizerOptions& o, const std::vector<Tensor>& all) {
  using namespace torch::optim;
  if (o.optimizer == "adam") return std::make_unique<Adam>(all, AdamOptions(o.lr).weight_decay(o.weight_decay));
  if (o.optimizer == "adamw") return std::make_unique<AdamW>(all, AdamWOptions(o.lr).weight_decay(o.weight_decay));
  require(!o.nesterov || o.momentum > 0, "--nesterov: needs a --momentum over 0");
  return std::make_unique<SGD>(all,
                               SGDOptions(o.lr).momentum(o.momentum).weight_decay(o.weight_decay).nesterov(o.nesterov));
}

}  // namespace

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<Tensor> parameters)
    : options_(options), parameters_(std::move(parameters)), optimizer_(make_optimizer(options_, parameters_)) {
  require(std::is_sorted(options.milestones.begin(), options.milestones.end()),
          "--milestones: need to ascend, but are {}", fmt::join(options.milestones, ","));
}
Optimizer::~Optimizer() = default;

void Optimizer::step(const Tensor& loss, int64_t step, int64_t total, const std::function<void()>& after_backward) {
  for (auto& group : optimizer_->param_groups()) group.options().set_lr(learning_rate(options_, step, total));
  optimizer_->zero_grad();
  loss.backward();
  if (after_backward) after_backward();
  if (options_.clip > 0) torch::nn::utils::clip_grad_norm_(parameters_, options_.clip);
  optimizer_->step();
  // LibTorch's SGD writes through data(), which is not counted; folded weights would stay those of before.
  for (const auto& p : parameters_) count_change(p);
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
