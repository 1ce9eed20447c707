// The tiny network that reference values were computed with, and its 12 images (double precision).
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/models/network.h"
#include "hpm/models/registry.h"
#include "support/support.h"

namespace hpm::test {

/// Fills a network by the fill rule: tensor t of the state, in order.
inline void fill_network(Classifier& model) {
  torch::NoGradGuard guard;
  int64_t t = 0;
  for (auto& [name, tensor] : model.state()) {
    const auto r = fill_rule(tensor.numel(), t++).view(tensor.sizes());
    const double fan_in = tensor.dim() > 1 ? static_cast<double>(tensor.numel() / tensor.size(0)) : 1;
    if (name.ends_with("num_batches_tracked")) tensor.zero_();
    else if (name.ends_with("running_var") || (tensor.dim() == 1 && name.ends_with("weight"))) tensor.copy_(.5 + r);
    else if (tensor.dim() > 1) tensor.copy_((2 * r - 1) * std::sqrt(3 / fan_in));
    else tensor.copy_((2 * r - 1) * .1);
  }
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
