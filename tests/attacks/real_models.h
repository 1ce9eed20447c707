// The checkpoints and CIFAR-10 images below ../shared that the AutoAttack oracles were measured on.
#pragma once
#include <fstream>

#include "hpm/attacks/attack_model.h"
#include "hpm/io/tensors.h"
#include "hpm/models/registry.h"
#include "hpm/models/torchscript.h"
#include "support/support.h"

namespace hpm::test {

struct KnownModel {
  const char *name, *file, *architecture;
  std::vector<double> mean, std;
};

inline const std::vector<KnownModel>& known_models() {
  const std::vector<double> cifar{.4914, .4822, .4465}, wide{.2023, .1994, .2010}, exact{.2471, .2435, .2616};
  const std::vector<double> imagenet{.485, .456, .406};
  static const std::vector<KnownModel> models = {
      {"cnn_a_adv4", "cifar_cnn_a_adv4.model", "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10", cifar,
       wide},
      {"conv_small_pgd", "cifar_conv_small_pgd.pth", "conv16k4s2-relu-conv32k4s2-relu-flatten-fc100-relu-fc10", cifar,
       wide},
      {"madry_8px",
       "cifar_madry_8px.pth",
       "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10",
       imagenet,
       {.225, .225, .225}},
      {"resnet4b", "resnet4b.pth", "resnet4b", cifar, exact},
      {"resnet14_at8", "resnet14_at8.pth", "resnet14", cifar, exact},
      {"resnet20", "resnet20-12fca82f.th", "resnet20", imagenet, {.229, .224, .225}},
  };
  return models;
}

/// A model of the oracles, or none where its file is absent.
inline std::optional<Classifier> real_model(const std::string& name) {
  if (name.ends_with(".ts")) {
    const auto path = shared("checkpoints/" + name);
    if (!path) return std::nullopt;
    return load_torchscript(path->string(), {.allow = true});
  }
  for (const auto& known : known_models()) {
    if (known.name != name) continue;
    const auto path = shared(std::string("checkpoints/") + known.file);
    if (!path) return std::nullopt;
    auto model = make_classifier(known.architecture, 10, {3, 32, 32}, {known.mean, known.std}, 0);
    const auto file = read_checkpoint(path->string());
    auto state = model.state();
    torch::NoGradGuard guard;
    for (auto& [key, tensor] : state) {
      bool found = false;
      for (const auto& [stored, value] : file.tensors)
        if (stored == key) tensor.copy_(value), found = true;
      if (!found && !key.ends_with("num_batches_tracked")) throw std::runtime_error(name + " lacks " + key);
    }
    return model;
  }
  throw std::runtime_error("no such model: " + name);
}

/// The first n test images of CIFAR-10.
inline std::optional<Images> cifar_images(int64_t n) {
  const auto path = shared("data/cifar-10-batches-bin/test_batch.bin");
  if (!path) return std::nullopt;
  std::ifstream file(*path, std::ios::binary);
  std::vector<uint8_t> bytes(static_cast<size_t>(n * 3073));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw std::runtime_error("cannot read " + path->string());
  const auto records = torch::from_blob(bytes.data(), {n, 3073}, at::kByte).clone();
  return Images{records.slice(1, 1).to(at::kFloat).div(255).view({n, 3, 32, 32}).contiguous(),
                records.select(1, 0).to(at::kLong).contiguous(), at::arange(n)};
}

}  // namespace hpm::test
