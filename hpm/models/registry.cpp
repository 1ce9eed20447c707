#include "hpm/models/registry.h"

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/models/layers.h"
#include "hpm/models/network.h"
#include "hpm/models/resnet.h"

namespace hpm {
namespace {

using Shape = std::vector<int64_t>;
using NetworkPtr = std::shared_ptr<Network>;

/// The family for CIFAR of He et al., section 4.2: 6n+2 layers, 16-32-64 channels, option A.
template <int64_t n>
NetworkPtr he_resnet(int64_t classes, const Shape& shape) {
  return make_resnet({{n, n, n}, {16, 32, 64}, Shortcut::padding}, classes, shape);
}
NetworkPtr resnet18_cifar(int64_t classes, const Shape& shape) {
  return make_resnet({{2, 2, 2, 2}, {64, 128, 256, 512}, Shortcut::projection}, classes, shape);
}
NetworkPtr resnet2b(int64_t classes, const Shape& shape) {
  return make_plain_resnet({.stem = 8, .blocks = {2}, .widths = {16}}, classes, shape);
}
NetworkPtr resnet4b(int64_t classes, const Shape& shape) {
  return make_plain_resnet({.stem = 16, .blocks = {2, 2}, .widths = {32, 32}}, classes, shape);
}

}  // namespace

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      {"resnet2b", "two residual blocks without batch norm, D = 100", resnet2b},
      {"resnet4b", "four residual blocks without batch norm, D = 100", resnet4b},
      {"resnet14", "He et al. for CIFAR, n = 2, D = 64", he_resnet<2>},
      {"resnet20", "He et al. for CIFAR, n = 3, D = 64", he_resnet<3>},
      {"resnet18_cifar", "ResNet-18 with a 3x3 stem, D = 512", resnet18_cifar},
  };
  return table;
}

NetworkPtr make_network(const std::string& architecture, int64_t classes, const Shape& input_shape) {
  require(classes >= 2, "make_network: needs at least 2 classes, but got {}", classes);
  require(input_shape.size() == 3, "make_network: needs an input shape C,H,W, but got [{}]", fmt::join(input_shape, ","));
  std::vector<std::string> names;
  for (const auto& known : architectures()) {
    if (known.name == architecture) return known.make(classes, input_shape);
    names.push_back(known.name);
  }
  if (architecture.find('-') == std::string::npos) {
    const auto nearest = nearest_name(architecture, names);
    fail_usage("make_network: unknown architecture \"{}\"{}; known are {}, and LAYERS strings such as conv16k3p1-relu-flatten-fc10",
               architecture, nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest), fmt::join(names, ", "));
  }
  auto network = make_layers(architecture, input_shape);
  const auto out = network->head()->weight.size(0);
  require(out == classes, "make_network: {} ends in {} classes, but {} are asked for", architecture, out, classes);
  return network;
}

Classifier make_classifier(const std::string& architecture, int64_t classes, const Shape& input_shape,
                           const Normalisation& normalisation, uint64_t seed) {
  // torch::nn initialises from the global generator: it is seeded here and put back.
  auto generator = at::globalContext().defaultGenerator(at::kCPU);
  const auto before = generator.get_state();
  generator.set_current_seed(seed);
  auto network = make_network(architecture, classes, input_shape);
  generator.set_state(before);
  return {std::move(network), {architecture, classes, input_shape, normalisation}};
}

}  // namespace hpm
