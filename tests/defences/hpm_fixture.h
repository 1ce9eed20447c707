// A small HPM model as a defence, with images that it has right in the context reference.
#pragma once
#include "hpm/core/norms.h"
#include "hpm/defences/hpm_defence.h"
#include "surrogates/tiny_model.h"

namespace hpm::test {

class HpmFixture : public testing::Test {
 protected:
  HpmFixture() {
    const auto out = model.run(clean);
    y = prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, at::arange(24)).argmax(1);
    x = (clean + .05 * tiny_images(24, 9)).clamp(0, 1);
  }
  Images images() const { return {clean, y, at::arange(24)}; }
  HpmDefence defence(std::vector<std::string> contexts, std::vector<double> sweep = {}) const {
    return {model,
            images(),
            {.contexts = std::move(contexts), .sweep = std::move(sweep), .company_size = 10, .company_seed = 3}};
  }
  static Surrogate surrogate(const Defence& defence, const std::string& name, size_t target = 0) {
    return defence.surrogates(target, {.names = {name}}).front();
  }
  HpmModel model = tiny_model();
  Tensor clean = tiny_images(24, 1), x, y;
  ThreatModel threat{Norm::linf, .1};
};

}  // namespace hpm::test
