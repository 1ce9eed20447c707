// A small model with eighteen images, one of them misclassified in the context reference, in batches of seven.
#pragma once
#include "hpm/defences/defence_options.h"
#include "hpm/evaluation/msa/msa.h"
#include "surrogates/tiny_model.h"

namespace hpm::test {

inline const std::vector<std::string> kEveryContext{"reference", "solo", "alone", "joint"};

/// The options of an attack and of the defence that it attacks.
struct MsaSetting : MsaOptions {
  std::vector<std::string> contexts = {"reference"};
  std::vector<double> sweep = {};
  int64_t company_size = 128;
  uint64_t company_seed = 0;
};

inline std::unique_ptr<Defence> defence_of(const HpmModel& model, const Peers& peers, const ImageSet& images,
                                           const MsaSetting& o, const WorkLog& log = {}) {
  DefenceOptions options;
  options.peers = peers;
  options.contexts = msa_contexts(o.contexts, o.version);
  options.sweep = o.sweep;
  options.company_size = o.company_size, options.company_seed = o.company_seed, options.batch_size = o.batch_size;
  return make_defence(model, images, options, log);
}

inline Evaluation msa(const HpmModel& model, const Peers& peers, const ImageSet& images, const ThreatModel& threat,
                      const MsaSetting& options, Monitor& monitor = silent(), const WorkLog& log = {}) {
  return hpm::msa(*defence_of(model, peers, images, options, log), {images, threat}, options, {monitor, log});
}

/// A model in one context.
inline std::unique_ptr<Defence> in_context(const HpmModel& model, const std::string& context, const ImageSet& images,
                                           int64_t company_size, uint64_t company_seed) {
  DefenceOptions options;
  options.contexts = {context}, options.company_size = company_size, options.company_seed = company_seed;
  options.batch_size = 16;
  return make_defence(model, images, options);
}

/// Its logits [n,K] on versions of those images.
inline Tensor logits_in(const HpmModel& model, const std::string& context, const ImageSet& originals,
                        const ImageSet& versions, int64_t company_size = 7, uint64_t company_seed = 2) {
  return predict_logits(*in_context(model, context, originals, company_size, company_seed), 0, versions, 16);
}

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
  MsaSetting options(std::vector<std::string> contexts) {
    MsaSetting o;
    o.contexts = std::move(contexts);
    o.company_size = 7, o.company_seed = 2, o.batch_size = 16, o.settings.steps = 8;
    return o;
  }
  HpmModel model = tiny_model(.4, at::kFloat);
  Images images;
  ThreatModel threat{Norm::linf, .03};
};

}  // namespace hpm::test
