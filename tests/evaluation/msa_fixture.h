// A small model with eighteen images, one of them misclassified in the context reference, in batches of seven.
#pragma once
#include "hpm/evaluation/msa.h"
#include "surrogates/tiny_model.h"

namespace hpm::test {

inline const std::vector<std::string> kEveryContext{"reference", "solo", "alone", "joint"};

class MsaFixture : public testing::Test {
 protected:
  MsaFixture() {
    images.x = tiny_images(18, 1, at::kFloat);
    images.index = at::arange(7, 25);
    const auto out = model.run(images.x);
    images.y =
        prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, images.index).argmax(1);
    images.y[3] = (images.y[3] + 1) % 5;  // one image is misclassified
  }
  MsaOptions options(std::vector<std::string> contexts) {
    return {.contexts = std::move(contexts), .company_size = 7, .company_seed = 2, .batch_size = 16, .steps = 8};
  }
  HpmModel model = tiny_model(.4, at::kFloat);
  Images images;
  ThreatModel threat{Norm::linf, .03};
};

}  // namespace hpm::test
