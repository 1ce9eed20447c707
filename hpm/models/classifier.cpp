#include "hpm/models/classifier.h"

#include "hpm/core/error.h"
#include "hpm/core/tf32.h"
#include "hpm/models/autocast.h"
#include "hpm/models/network.h"

namespace hpm {
namespace {

/// Makes one value stand for every channel.
Tensor channel_values(std::vector<double>& values, int64_t channels, const char* name) {
  if (values.size() == 1) values.resize(static_cast<size_t>(channels), values.front());
  require(static_cast<int64_t>(values.size()) == channels,
          "Classifier: {0} needs {1} value{2}, one per channel, or one for all channels, but got {3}; mean and std are "
          "given together (--mean, --std)",
          name, channels, channels == 1 ? "" : "s", values.size());
  return torch::tensor(values, at::kDouble).view({1, channels, 1, 1}).to(at::kFloat);
}

void copy_state(const Network& from, Network& to) {
  torch::NoGradGuard guard;
  auto copy = [](auto source, auto target) {
    for (const auto& item : target) item.value().copy_(source[item.key()]);
  };
  copy(from.named_parameters(), to.named_parameters());
  copy(from.named_buffers(), to.named_buffers());
}

}  // namespace

Classifier::Classifier(std::shared_ptr<Network> network, ClassifierInfo info)
    : network_(std::move(network)), info_(std::move(info)), passes_(std::make_shared<Passes>()) {
  if (!info_.normalisation.identity()) {
    require(info_.input_shape.size() == 3, "Classifier: a normalisation needs the input shape C,H,W");
    mean_ = channel_values(info_.normalisation.mean, info_.input_shape[0], "mean");
    std_ = channel_values(info_.normalisation.std, info_.input_shape[0], "std");
    require(std_.gt(0).all().item<bool>(), "Classifier: std needs values over 0");
    const bool changes_nothing = mean_.eq(0).all().item<bool>() && std_.eq(1).all().item<bool>();
    if (changes_nothing) mean_.reset(), std_.reset();
  }
  set_training(false);
  set_requires_grad(false);
}

Output Classifier::run(const Tensor& x) const {
  const auto& shape = info_.input_shape;
  const bool fits = x.dim() == 4 && (shape.empty() || x.sizes().slice(1) == at::IntArrayRef(shape));
  require(fits, "Classifier::run: {} needs images [N,{}], but got [{}]", info_.architecture, fmt::join(shape, ","),
          fmt::join(x.sizes(), ","));
  passes_->forward += x.size(0);
  const bool search = at::GradMode::is_enabled() && x.requires_grad();
  if (search && x.is_leaf())
    x.register_hook([passes = passes_, n = x.size(0)](const Tensor&) { passes->backward += n; });
  const auto input = mean_.defined() ? (x - mean_).div_(std_) : x;
  const ScopedTf32 tf32(search && search_tf32_, x.device());
  if (!search || search_precision_ == at::kFloat) {
    auto [features, logits] = network_->run(input);
    return {std::move(features), std::move(logits)};
  }
  const ScopedAutocast reduced(x.device().type(), search_precision_);
  const auto [features, logits] = network_->run(input);
  return {features.defined() ? features.to(x.scalar_type()) : features, logits.to(x.scalar_type())};
}

Tensor Classifier::head(const Tensor& z) const { return at::linear(z, weight(), network_->head()->bias); }
Tensor Classifier::weight() const {
  require(!is_black_box(), "Classifier::weight: {} is a black box: it gives logits, but no penultimate features",
          info_.architecture);
  return network_->head()->weight;
}
Tensor Classifier::bias() const {
  const auto w = weight();
  const auto& b = network_->head()->bias;
  return b.defined() ? b : at::zeros({w.size(0)}, w.options());
}

std::string Classifier::head_name() const {
  const auto* head = network_->head().get();
  for (const auto& module : network_->named_modules("", false))
    if (module.value().get() == head) return module.key();
  fail("Classifier::head_name: {} does not register its last layer", info_.architecture);
}

int64_t Classifier::feature_size() const { return weight().size(1); }
bool Classifier::is_black_box() const { return !network_ || network_->head().is_empty(); }

std::vector<std::pair<std::string, Tensor>> Classifier::state() const {
  std::vector<std::pair<std::string, Tensor>> all;
  // Module by module, parameters before buffers: the order of Python's state_dict.
  for (const auto& module : network_->named_modules("", true)) {
    const auto prefix = module.key().empty() ? "" : module.key() + ".";
    for (const auto& item : module.value()->named_parameters(false))
      all.emplace_back(prefix + item.key(), item.value());
    for (const auto& item : module.value()->named_buffers(false)) all.emplace_back(prefix + item.key(), item.value());
  }
  return all;
}

std::vector<Tensor> Classifier::parameters() const {
  std::vector<Tensor> all;
  for (const auto& p : network_->parameters())
    if (std::none_of(all.begin(), all.end(), [&](const Tensor& other) { return other.is_same(p); })) all.push_back(p);
  return all;
}
int64_t Classifier::parameter_count() const {
  int64_t count = 0;
  for (const auto& p : parameters()) count += p.numel();
  return count;
}

Classifier Classifier::clone() const {
  auto copy = network_->fresh();
  copy->to(device(), scalar_type());
  copy_state(*network_, *copy);
  Classifier result(std::move(copy), info_);
  result.to(device(), scalar_type());
  result.set_search_precision(search_precision_);
  result.set_search_tf32(search_tf32_);
  return result;
}

void Classifier::to(at::Device device, at::ScalarType type) {
  network_->to(device, type);
  if (mean_.defined()) mean_ = mean_.to(device, type), std_ = std_.to(device, type);
}

at::Device Classifier::device() const {
  const auto all = network_->parameters();
  return all.empty() ? at::Device(at::kCPU) : all.front().device();
}
at::ScalarType Classifier::scalar_type() const {
  const auto all = network_->parameters();
  return all.empty() ? at::kFloat : all.front().scalar_type();
}
void Classifier::set_training(bool training) { network_->train(training); }
void Classifier::set_requires_grad(bool requires_grad) {
  for (auto& p : network_->parameters()) p.requires_grad_(requires_grad);
}

}  // namespace hpm
