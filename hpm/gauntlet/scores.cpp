#include "hpm/gauntlet/scores.h"

#include "hpm/gauntlet/honest.h"

namespace hpm::gauntlet {
namespace {

/// One-hot labels, with a gradient of zero.
Tensor label_of(const Tensor& logits) {
  return at::one_hot(logits.argmax(1), logits.size(1)).to(logits.scalar_type()) + 0 * logits;
}

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
                   "Brendel et al., arXiv:1712.04248; Chen and Gu, arXiv:2006.12792", {Cause::zero}, label_of);
}

GauntletEntry label_only() {
  GauntletEntry entry{"label-only",
                      "the label alone, of an undefended model: no gradient, no scores",
                      "Brendel et al., arXiv:1712.04248; Chen and Gu (RayS), arXiv:2006.12792",
                      false,
                      {Cause::zero}};
  const auto inside = least_squares().prediction;
  entry.prediction = [inside](const GauntletSetting& s) {
    const auto model = inside(s);
    return plain_prediction(model.classes, [model](const Tensor& x) { return label_of(model.logits(x)); });
  };
  entry.twins = [inside](const GauntletSetting& s) { return std::vector<PredictionFunction>{inside(s)}; };
  entry.more = {"decision"}, entry.queries = 5000;
  return entry;
}

}  // namespace hpm::gauntlet
