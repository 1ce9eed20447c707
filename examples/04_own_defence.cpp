// A defence of your own in the Mixed Surrogate Attack: here a network whose input is rounded (its gradient is zero) and
// whose prediction depends on its batch. What an attacker knows who has read the code is a surrogate.
//     build/release/examples/04_own_defence MODEL     (a Fashion-MNIST classifier)
#include <ATen/ops/arange.h>
#include <ATen/ops/round.h>

#include <cstdio>

#include "hpm/data/dataset.h"
#include "hpm/defences/function_defence.h"
#include "hpm/evaluation/msa/msa.h"
#include "hpm/prototypes/model.h"

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: 04_own_defence MODEL\n"), 2;
  const auto network = hpm::load_model(argv[1]).model.classifier;
  const auto data = hpm::load_dataset("fashion-mnist", "test");
  const auto index = at::arange(32);
  const hpm::ImageSet images(data.images(index), data.labels.index_select(0, index), index);

  // The prediction that is defended: images of a batch -> logits.
  const auto defended = [network](const at::Tensor& x) {
    const auto logits = network.logits(at::round(4 * x) / 4);
    return logits - .2 * logits.mean(0, true);
  };

  // What stands in for it: the same without the rounding, differentiable.
  hpm::Surrogate bpda{.name = "bpda", .summary = "backward as if nothing were rounded"};
  bpda.logits = [network](const hpm::SurrogateInput& in) { return network.logits(in.x); };
  bpda.through_network = false;

  hpm::FunctionDefence defence({.logits = defended, .classes = network.classes(), .coupling = hpm::Coupling::batch},
                               images, {.surrogates = {bpda}, .contexts = {"solo", "joint"}, .company_size = 8});
  const auto result = hpm::msa(defence, {images, {hpm::Norm::linf, .1}}, {.settings = {.steps = 20}});
  for (const auto& context : result.contexts) {
    std::printf("%-6s clean %.1f %%, robust %.1f %%\n", context.context.c_str(), hpm::percent(context.clean_correct),
                hpm::percent(context.robust));
    for (const auto& surrogate : context.surrogates)
      if (surrogate.unavailable.empty())
        std::printf("       %-8s broke %ld of %ld\n", surrogate.name.c_str(), static_cast<long>(surrogate.broke),
                    static_cast<long>(surrogate.of));
  }
}
