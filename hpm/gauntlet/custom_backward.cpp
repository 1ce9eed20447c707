#include "hpm/gauntlet/custom_backward.h"

namespace hpm::gauntlet {

GauntletEntry custom_backward() {
  GauntletEntry entry{
      "custom-backward",
      "forward the network, backward another function: the network on the image shifted by half its size",
      "Athalye et al., arXiv:1802.00420; Tramer et al., arXiv:2002.08347",
      false,
      {Cause::other_gradient, Cause::shattered, Cause::masked}};
  entry.prediction = [](const GauntletSetting& s) {
    return plain_prediction(s.base.classes(), [net = s.base](const Tensor& x) {
      return through(net.logits(x.detach()), net.logits(at::roll(x, {x.size(2) / 2, x.size(3) / 2}, {2, 3})));
    });
  };
  entry.twins = [](const GauntletSetting& s) { return std::vector<PredictionFunction>{plain_prediction(s.base)}; };
  return entry;
}

}  // namespace hpm::gauntlet
