#include "hpm/gauntlet/honest.h"

namespace hpm::gauntlet {

GauntletEntry adversarially_trained() {
  GauntletEntry entry{"adversarially-trained", "the network that the others are built around", "", true};
  entry.prediction = [](const GauntletSetting& s) { return plain_prediction(s.base); };
  entry.twins = [](const GauntletSetting& s) { return std::vector<PredictionFunction>{plain_prediction(s.base)}; };
  return entry;
}

GauntletEntry least_squares() {
  GauntletEntry entry{"least-squares", "a linear classifier of pixels, undefended", "", true};
  const auto fitted = [](const GauntletSetting& s) {
    torch::NoGradGuard guard;
    const auto pixels = s.training.x.flatten(1).to(at::kDouble);
    const auto x = at::cat({pixels, at::ones({pixels.size(0), 1}, pixels.options())}, 1);
    const auto y = at::one_hot(s.training.y, s.base.classes()).to(at::kDouble);
    const auto regularised = x.t().matmul(x) + 10 * at::eye(x.size(1), x.options());
    const auto w = at::linalg_solve(regularised, x.t().matmul(y)).to(at::kFloat);
    return plain_prediction(s.base.classes(), [weight = w.slice(0, 0, -1).t().contiguous(), bias = w[-1]](
                                                  const Tensor& x) { return at::linear(x.flatten(1), weight, bias); });
  };
  entry.prediction = fitted;
  entry.twins = [fitted](const GauntletSetting& s) { return std::vector<PredictionFunction>{fitted(s)}; };
  return entry;
}

}  // namespace hpm::gauntlet
