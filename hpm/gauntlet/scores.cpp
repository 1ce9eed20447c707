#include "hpm/gauntlet/scores.h"

namespace hpm::gauntlet {
namespace {

std::vector<PredictionFunction> the_network(const GauntletSetting& s) { return {plain_prediction(s.base)}; }

GauntletEntry of_scores(std::string name, std::string mechanism, std::string source, std::vector<Cause> causes,
                        std::function<Tensor(const Tensor& logits)> change) {
  GauntletEntry entry{std::move(name), std::move(mechanism), std::move(source), false, std::move(causes)};
  entry.prediction = [change](const GauntletSetting& s) {
    return plain_prediction(s.base.classes(),
                            [net = s.base, change](const Tensor& x) { return change(net.logits(x)); });
  };
  entry.twins = the_network;
  return entry;
}

}  // namespace

GauntletEntry scaled_logits() {
  return of_scores("scaled-logits", "logits times 10,000: the softmax has no gradient left",
                   "Papernot et al., arXiv:1511.04508; Carlini and Wagner, arXiv:1608.04644",
                   {Cause::scale, Cause::zero}, [](const Tensor& logits) { return 1e4 * logits; });
}

GauntletEntry probabilities() {
  return of_scores("probabilities", "a saturated softmax handed out as logits",
                   "Carlini et al., arXiv:1902.06705, section 4", {Cause::scale, Cause::zero},
                   [](const Tensor& logits) { return (20 * logits).softmax(1); });
}

GauntletEntry hard_labels() {
  return of_scores("hard-labels", "one-hot labels alone: no gradient, no scores",
                   "Brendel et al., arXiv:1712.04248; Chen and Gu, arXiv:2006.12792", {Cause::zero},
                   [](const Tensor& logits) {
                     return at::one_hot(logits.argmax(1), logits.size(1)).to(logits.scalar_type()) + 0 * logits;
                   });
}

}  // namespace hpm::gauntlet
