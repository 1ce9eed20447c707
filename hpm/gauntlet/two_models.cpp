#include "hpm/gauntlet/two_models.h"

#include "hpm/core/random.h"

namespace hpm::gauntlet {
namespace {

constexpr double kMargin = .5;  // of the network's label, in units of what an attack moves p_1 or p_2 by

/// The logits of two models. Both begin with the network's label, without a gradient; where an image stands along two
/// fine patterns of pixels, p_1 and p_2, counts against it: 2 p_1 - p_2 / 2 in the first model, 2 p_2 - p_1 / 2 in the
/// second one. Raising one of them and lowering the other breaks one model and makes the other one surer. Raising both
/// breaks both.
class TwoModels {
 public:
  explicit TwoModels(const GauntletSetting& s) : net_(s.base), eps_(s.threat.eps) {
    torch::NoGradGuard guard;
    const auto height = s.training.x.size(2), width = s.training.x.size(3);
    // Neighbouring pixels count with opposite signs, so that images themselves, which are smooth, hardly have a part.
    const auto pairs = (RandomStreams(s.seed).uniform(at::arange(height), {"two models"}, {width / 2}) - .5).sign();
    const auto signs = at::stack({pairs, -pairs}, 2).flatten(1).to(at::kFloat);
    const auto even = (at::arange(height) % 2).eq(0).to(at::kFloat).unsqueeze(1);
    patterns_ = at::stack({signs * even, signs * (1 - even)}) * 2. / static_cast<double>(height * width);
    middle_ = along(s.training.x).mean(0, true);
  }

  std::pair<Tensor, Tensor> operator()(const Tensor& x) const {
    const auto logits = net_.logits(x.detach()).detach();
    const auto label = at::one_hot(logits.argmax(1), logits.size(1)).to(logits.scalar_type());
    const auto p = ((along(x) - middle_) / eps_).split(1, 1);
    return {label * (kMargin - 2 * p[0] + p[1] / 2), label * (kMargin - 2 * p[1] + p[0] / 2)};
  }

 private:
  Tensor along(const Tensor& x) const {
    const auto width = patterns_.size(2);
    return x.slice(3, 0, width).mean(1).flatten(1).matmul(patterns_.flatten(1).t());
  }

  Classifier net_;
  double eps_;
  Tensor patterns_, middle_;  // [2,H,W], [1,2]
};

/// The mean distance of the first logit from the second one.
double sureness(const Tensor& logits) {
  const auto top = std::get<0>(logits.detach().topk(2, 1));
  return (top.select(1, 0) - top.select(1, 1)).mean().item<double>();
}

}  // namespace

GauntletEntry surer_of_two() {
  GauntletEntry entry{"surer-of-two",
                      "each batch is answered by the surer of two models: what breaks one makes it take the other",
                      "Chen et al., arXiv:2110.14735",
                      false,
                      {Cause::batch}};
  entry.context = "joint", entry.more = {"gmsa-avg", "gmsa-min"};
  entry.prediction = [](const GauntletSetting& s) {
    auto function = plain_prediction(s.base.classes(), [both = TwoModels(s)](const Tensor& x) {
      const auto [first, second] = both(x);
      return sureness(first) >= sureness(second) ? first : second;
    });
    function.coupling = Coupling::batch;
    return function;
  };
  // Someone who knows both attacks their mean.
  entry.twins = [](const GauntletSetting& s) {
    const auto mean = [both = TwoModels(s)](const Tensor& x) {
      const auto [first, second] = both(x);
      return (first + second) / 2;
    };
    return std::vector<PredictionFunction>{plain_prediction(s.base.classes(), mean)};
  };
  return entry;
}

}  // namespace hpm::gauntlet
