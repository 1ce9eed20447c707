// The tiny network that reference values were computed with, and its 12 images (double precision).
#pragma once
#include "hpm/attacks/attack_model.h"

#include <nlohmann/json.hpp>

#include "hpm/models/network.h"
#include "hpm/models/registry.h"
#include "support/support.h"

namespace hpm::test {

/// Tensor t of a state by the fill rule, rounded to float32.
inline at::Tensor filled_weight(const std::string& name, at::IntArrayRef shape, int64_t t) {
  if (name.ends_with("num_batches_tracked")) return at::zeros(shape, at::kLong);
  const auto r = fill_rule(c10::multiply_integers(shape), t).view(shape);
  const double fan_in = shape.size() > 1 ? static_cast<double>(c10::multiply_integers(shape.slice(1))) : 1;
  const bool scale = name.ends_with("running_var") || (shape.size() == 1 && name.ends_with("weight"));
  return (scale ? .5 + r : shape.size() > 1 ? (2 * r - 1) * std::sqrt(3 / fan_in) : (2 * r - 1) * .1).to(at::kFloat);
}

/// Fills a network by the fill rule: tensor t of the state, in order.
inline void fill_network(Classifier& model) {
  torch::NoGradGuard guard;
  int64_t t = 0;
  for (auto& [name, tensor] : model.state()) tensor.copy_(filled_weight(name, tensor.sizes(), t++));
}

inline Classifier formula_net(at::ScalarType type = at::kDouble) {
  auto model = make_classifier("conv8k3s2p1-relu-conv16k3s2p1-relu-flatten-fc10", 10, {3, 8, 8}, {}, 0);
  fill_network(model);  // rounds the weights to float32; the images below stay double
  model.to(at::kCPU, type);
  {
    torch::NoGradGuard guard;
    model.weight().mul_(4);
  }
  return model;
}

inline Images formula_images(const nlohmann::json& oracle, at::ScalarType type = at::kDouble) {
  const auto pool = fill_rule(200 * 192, 1).view({200, 3, 8, 8});
  const auto index = tensor_of(oracle["pool_index"]).to(at::kLong);
  return {pool.index_select(0, index).to(type), tensor_of(oracle["labels"]).to(at::kLong), at::arange(index.size(0))};
}

/// n images of the same kind, labelled with the network's own predictions.
inline Images own_images(const Classifier& net, int64_t n) {
  const auto x = fill_rule(n * 192, 1).view({n, 3, 8, 8}).to(net.scalar_type());
  torch::NoGradGuard guard;
  return {x, net.logits(x).argmax(1), at::arange(n)};
}

}  // namespace hpm::test
