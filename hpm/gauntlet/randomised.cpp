#include "hpm/gauntlet/randomised.h"

namespace hpm::gauntlet {
namespace {

int64_t drawn(int64_t below) { return at::randint(below, {1}, at::kLong).item<int64_t>(); }

/// Random ones are attacked through their own gradient, averaged over draws: the surrogate eot. The adaptive attack
/// goes through the network without the random layer, and through the average of fresh draws.
GauntletEntry random_entry(std::string name, std::string mechanism, std::string source,
                           std::function<Tensor(const Classifier&, const Tensor&)> logits) {
  GauntletEntry entry{std::move(name), std::move(mechanism), std::move(source), false, {Cause::random}};
  entry.prediction = [logits](const GauntletSetting& s) {
    auto function =
        plain_prediction(s.base.classes(), [net = s.base, logits](const Tensor& x) { return logits(net, x); });
    function.random = true;
    return function;
  };
  entry.twins = [logits](const GauntletSetting& s) {
    const auto average = [net = s.base, logits](const Tensor& x) {
      auto sum = logits(net, x);
      for (int i = 1; i < 8; ++i) sum = sum + logits(net, x);
      return sum / 8;
    };
    return std::vector<PredictionFunction>{plain_prediction(s.base), plain_prediction(s.base.classes(), average)};
  };
  return entry;
}

}  // namespace

GauntletEntry resize_and_pad() {
  return random_entry(
      "resize-and-pad", "a random size and place: the gradient is that of one draw",
      "Xie et al., arXiv:1711.01991; Athalye et al., arXiv:1802.00420", [](const Classifier& net, const Tensor& x) {
        const auto side = x.size(2), size = side - drawn(4);
        const auto small = at::upsample_bilinear2d(x, {size, size}, false);
        const auto top = drawn(side - size + 1), left = drawn(side - size + 1);
        return net.logits(at::constant_pad_nd(small, {left, side - size - left, top, side - size - top}, 0));
      });
}

GauntletEntry activation_pruning() {
  return random_entry("activation-pruning", "features dropped at random: the gradient is that of one draw",
                      "Dhillon et al., arXiv:1803.01442; Athalye et al., arXiv:1802.00420",
                      [](const Classifier& net, const Tensor& x) {
                        const auto z = net.features(x);
                        // Each feature is kept with a probability that grows with its share of the whole.
                        const auto share = z.detach().abs() / (z.detach().abs().sum(1, true) + 1e-12);
                        const auto kept = 1 - (1 - share).clamp(0, 1).pow(static_cast<double>(z.size(1)));
                        const auto mask = at::rand_like(z).lt(kept).to(z.scalar_type());
                        return net.head(z * mask / kept.clamp_min(1e-3));
                      });
}

}  // namespace hpm::gauntlet
