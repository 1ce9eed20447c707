// The Mixed Surrogate Attack with a surrogate of your own (annealed_surrogate.h) among the others.
//     build/release/examples/02_own_surrogate
#include <torch/torch.h>

#include <cstdio>

#include "annealed_surrogate.h"
#include "hpm/defences/hpm_defence.h"
#include "hpm/evaluation/msa/msa.h"
#include "hpm/models/registry.h"

namespace {

/// Your model: hpm::load_model("runs/mine/model.safetensors").model. Here: a small network with its own predictions as
/// labels, and a head whose prototypes come from them.
hpm::HpmModel small_model(const at::Tensor& x) {
  hpm::HpmModel model{hpm::make_classifier("conv8k3s2p1-relu-flatten-fc16-relu-fc10", 10, {3, 16, 16}, {}, 1),
                      hpm::HpmHead{.lambda = .5}};
  const auto out = model.run(x);
  const auto statistics = hpm::class_statistics(hpm::hard_assignment(out.logits), out.features);
  model.head->calibration_sums = statistics.sums, model.head->calibration_counts = statistics.counts;
  model.head->means = statistics.sums / statistics.counts.clamp_min(1).unsqueeze(1);
  model.head->log_tau = torch::zeros({});
  return model;
}

}  // namespace

int main() {
  torch::NoGradGuard guard;
  torch::manual_seed(0);
  const auto x = torch::rand({64, 3, 16, 16});
  const auto model = small_model(x);
  const hpm::Images images{x, model.classifier.logits(x).argmax(1), torch::arange(64)};

  hpm::DefenceOptions as{.contexts = {"solo"}, .company_size = 32, .own_surrogates = {annealed_surrogate()}};
  hpm::HpmDefence defence(model, images, as);
  // Each of them on every image, to compare them.
  const auto result =
      hpm::msa(defence, {images, {hpm::Norm::linf, 4.0 / 255}}, {.surrogates = {"ste", "fc"}, .full_matrix = true});
  for (const auto& surrogate : result.first().surrogates)
    std::printf("%-9s broke %2d of %2d\n", surrogate.name.c_str(), static_cast<int>(surrogate.broke),
                static_cast<int>(surrogate.of));
  std::printf("worst case: %.1f %% of %.1f %%\n", hpm::percent(result.first().robust),
              hpm::percent(result.first().clean_correct));
  return 0;
}
