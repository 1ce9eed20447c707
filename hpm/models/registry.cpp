#include "hpm/models/registry.h"

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/models/layers.h"
#include "hpm/models/network.h"
#include "hpm/models/resnet.h"
#include "hpm/models/wide_resnet.h"

namespace hpm {
namespace {

using Shape = std::vector<int64_t>;
using NetworkPtr = std::shared_ptr<Network>;

Architecture resnet(const std::string& name, const std::string& summary, const ResNetSpec& spec) {
  return {name, summary, [spec](int64_t classes, const Shape& shape) { return make_resnet(spec, classes, shape); },
          spec};
}

/// The family for CIFAR of He et al., section 4.2: 6n+2 layers, 16-32-64 channels, option A.
Architecture he_resnet(int64_t n) {
  return resnet(fmt::format("resnet{}", 6 * n + 2), fmt::format("He et al. for CIFAR, n = {}, D = 64", n),
                {{n, n, n}, {16, 32, 64}, Shortcut::padding});
}

const Shape kWidths{64, 128, 256, 512};

Architecture cifar_resnet(int64_t depth, const Shape& blocks, Block block) {
  return resnet(fmt::format("resnet{}_cifar", depth),
                fmt::format("ResNet-{} with a 3x3 stem, D = {}", depth, block == Block::basic ? 512 : 2048),
                {.blocks = blocks, .widths = kWidths, .block = block});
}

Architecture imagenet_resnet(const std::string& name, const Shape& blocks, Block block, int64_t wider = 1) {
  return resnet(name, fmt::format("torchvision's, D = {}", block == Block::basic ? 512 : 2048),
                {.blocks = blocks, .widths = kWidths, .block = block, .imagenet = true, .wider = wider});
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
      he_resnet(2),
      he_resnet(3),
      he_resnet(5),
      he_resnet(7),
      he_resnet(9),
      he_resnet(18),
      cifar_resnet(18, {2, 2, 2, 2}, Block::basic),
      cifar_resnet(34, {3, 4, 6, 3}, Block::basic),
      cifar_resnet(50, {3, 4, 6, 3}, Block::bottleneck),
      cifar_resnet(101, {3, 4, 23, 3}, Block::bottleneck),
      cifar_resnet(152, {3, 8, 36, 3}, Block::bottleneck),
      resnet("preact_resnet18", "PreActResNet-18, D = 512",
             {.blocks = {2, 2, 2, 2}, .widths = kWidths, .block = Block::preactivation}),
      resnet("preact_resnet18_bn", "PreActResNet-18 with batch norm before the last layer, D = 512",
             {.blocks = {2, 2, 2, 2}, .widths = kWidths, .block = Block::preactivation, .norm_before_head = true}),
      imagenet_resnet("torchvision_resnet18", {2, 2, 2, 2}, Block::basic),
      imagenet_resnet("torchvision_resnet34", {3, 4, 6, 3}, Block::basic),
      imagenet_resnet("torchvision_resnet50", {3, 4, 6, 3}, Block::bottleneck),
      imagenet_resnet("torchvision_resnet101", {3, 4, 23, 3}, Block::bottleneck),
      imagenet_resnet("torchvision_wide_resnet50_2", {3, 4, 6, 3}, Block::bottleneck, 2),
  };
  return table;
}

Normalisation own_normalisation(const std::string& architecture, int64_t classes) {
  if (architecture.rfind("dm_", 0) != 0) return {};
  if (classes == 100) return {{.5071, .4865, .4409}, {.2673, .2564, .2762}};
  return {{.4914, .4822, .4465}, {.2471, .2435, .2616}};
}

NetworkPtr make_network(const std::string& architecture, int64_t classes, const Shape& input_shape) {
  require(classes >= 2, "make_network: needs at least 2 classes, but got {}", classes);
  require(input_shape.size() == 3, "make_network: needs an input shape C,H,W, but got [{}]",
          fmt::join(input_shape, ","));
  std::vector<std::string> names;
  for (const auto& known : architectures()) {
    if (known.name == architecture) return known.make(classes, input_shape);
    names.push_back(known.name);
  }
  if (auto wide = make_wide_resnet(architecture, classes, input_shape)) return wide;
  if (architecture.find('-') == std::string::npos) {
    const auto nearest = nearest_name(architecture, names);
    fail_usage(
        "make_network: unknown architecture \"{}\"{}; known are {}, wrn<depth>_<width>[_nobias][_sub_block1], "
        "dm_wrn<depth>_<width>[_relu], dm_preact_resnet18[_relu], and LAYERS strings such as "
        "conv16k3p1-relu-flatten-fc10",
        architecture, nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest), fmt::join(names, ", "));
  }
  auto network = make_layers(architecture, input_shape);
  const auto out = network->head()->weight.size(0);
  require(out == classes, "make_network: {} ends in {} classes, but {} are asked for", architecture, out, classes);
  return network;
}

Classifier make_classifier(const std::string& architecture, int64_t classes, const Shape& input_shape,
                           const Normalisation& normalisation, uint64_t seed) {
  // torch::nn draws initial weights from the global generator. It is seeded here, and its state restored afterwards.
  auto generator = at::globalContext().defaultGenerator(at::kCPU);
  const auto before = generator.get_state();
  generator.set_current_seed(seed);
  auto network = make_network(architecture, classes, input_shape);
  generator.set_state(before);
  return {std::move(network), {architecture, classes, input_shape, normalisation}};
}

}  // namespace hpm
