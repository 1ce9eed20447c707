// AutoAttack on a model of your own: anything that maps images [N,C,H,W] in [0,1] to logits [N,K] with autograd.
//     build/release/examples/01_autoattack
#include <torch/torch.h>

#include <cstdio>

#include "hpm/attacks/autoattack.h"
#include "hpm/attacks/function_model.h"

int main() {
  // Your network and your images. Here: a small untrained network and noise, labelled by the network itself.
  torch::manual_seed(0);
  torch::nn::Sequential network(torch::nn::Conv2d(3, 8, 3), torch::nn::ReLU(), torch::nn::Flatten(),
                                torch::nn::Linear(8 * 14 * 14, 10));
  network->eval();
  for (auto& parameter : network->parameters()) parameter.requires_grad_(false);
  const auto x = torch::rand({32, 3, 16, 16});
  const auto y = network->forward(x).argmax(1);

  // AutoAttack.
  hpm::FunctionModel model([&](const at::Tensor& images) { return network->forward(images); }, 10);
  const hpm::Images images{x, y, torch::arange(x.size(0))};
  const hpm::ThreatModel threat{hpm::Norm::linf, 1.0 / 255};
  const auto result = hpm::autoattack(model, images, threat, {.settings = {.queries = 500}});
  std::printf("clean %.1f %%, robust %.1f %%\n", result.clean_accuracy(), result.robust_accuracy());

  for (const auto& attack : result.attacks)
    std::printf("  after %-8s %3d robust, %6ld forward and %6ld backward passes\n", attack.spec.name.c_str(),
                attack.robust.sum().item<int>(), static_cast<long>(attack.passes.forward),
                static_cast<long>(attack.passes.backward));
  return 0;
}
