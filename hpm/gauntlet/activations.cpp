#include "hpm/gauntlet/activations.h"

namespace hpm::gauntlet {
namespace {

/// Of each row the largest share of the values; the others are 0. Its gradient is that of the values kept.
Tensor winners(const Tensor& values, double share) {
  const auto flat = values.flatten(1);
  const auto k = std::max<int64_t>(static_cast<int64_t>(share * static_cast<double>(flat.size(1))), 1);
  const auto least = std::get<0>(flat.detach().topk(k, 1)).slice(1, k - 1, k);
  return (flat * flat.detach().ge(least).to(flat.scalar_type())).view_as(values);
}

/// The FC layer on the features, and beside it on the winners among quickly changing functions of them. Which ones win
/// changes with every step, and each change is a jump of the logits.
Tensor with_winners(const Classifier& net, const Tensor& x) {
  const auto z = net.features(x);
  return net.head(z) + .25 * at::linear(winners((41 * z).sin() + (97 * z).cos(), .3), net.weight());
}

}  // namespace

GauntletEntry winners_take_all() {
  GauntletEntry entry{"winners-take-all",
                      "which features win jumps with every step: the gradient is shattered",
                      "Xiao et al., arXiv:1905.10510; Tramer et al., arXiv:2002.08347",
                      false,
                      {Cause::shattered, Cause::masked}};
  entry.prediction = [](const GauntletSetting& s) {
    return plain_prediction(s.base.classes(), [net = s.base](const Tensor& x) { return with_winners(net, x); });
  };
  entry.twins = [](const GauntletSetting& s) {
    const auto smooth = [net = s.base](const Tensor& x) { return through(with_winners(net, x), net.logits(x)); };
    return std::vector<PredictionFunction>{plain_prediction(s.base.classes(), smooth), plain_prediction(s.base)};
  };
  return entry;
}

GauntletEntry sparse_features() {
  GauntletEntry entry{"sparse-features",
                      "features near their mean are set to it: flat spots without a gradient",
                      "Amini et al. (MeanSparse), arXiv:2406.05927; Rando et al. 2024",
                      false,
                      {Cause::zero, Cause::shattered, Cause::masked}};
  const auto sparse = [](const Tensor& z, const Tensor& mean, const Tensor& spread) {
    const auto near = (z - mean).abs().le(.6 * spread);
    return at::where(near, mean.expand_as(z), z);
  };
  const auto statistics = [](const GauntletSetting& s) {
    torch::NoGradGuard guard;
    const auto z = s.base.features(s.training.x);
    return std::pair{z.mean(0, true), z.std(0, true, true)};
  };
  entry.prediction = [=](const GauntletSetting& s) {
    const auto [mean, spread] = statistics(s);
    return plain_prediction(s.base.classes(), [=, net = s.base, mean = mean, spread = spread](const Tensor& x) {
      return net.head(sparse(net.features(x), mean, spread));
    });
  };
  entry.twins = [=](const GauntletSetting& s) {
    const auto [mean, spread] = statistics(s);
    const auto smooth = [=, net = s.base, mean = mean, spread = spread](const Tensor& x) {
      const auto z = net.features(x);
      return net.head(through(sparse(z, mean, spread), z));
    };
    return std::vector<PredictionFunction>{plain_prediction(s.base.classes(), smooth), plain_prediction(s.base)};
  };
  return entry;
}

}  // namespace hpm::gauntlet
