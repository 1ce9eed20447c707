#include "hpm/gauntlet/crossmax.h"

namespace hpm::gauntlet {
namespace {

/// The network on the image as it is, and moved by a pixel down and to the right: [M,N,K]. One pass for all members.
Tensor members(const Classifier& net, const Tensor& x) {
  std::vector<Tensor> moved{x};
  for (const int64_t dim : {2, 3}) moved.push_back(at::roll(x, 1, dim));
  return net.logits(at::cat(moved)).view({static_cast<int64_t>(moved.size()), x.size(0), -1});
}

/// The median over members.
Tensor aggregated(const Tensor& members) {
  auto z = members - members.amax(2, true);
  z = z - z.amax(0, true);
  return std::get<0>(z.topk(2, 0)).select(0, 1);
}

}  // namespace

GauntletEntry crossmax() {
  GauntletEntry entry{"crossmax",
                      "an ensemble joined by maxima and medians: the gradient leads nowhere",
                      "Fort and Lakshminarayanan, arXiv:2408.05446; Zhang et al., arXiv:2411.14834",
                      false,
                      {Cause::masked, Cause::shattered, Cause::other_gradient}};
  entry.prediction = [](const GauntletSetting& s) {
    return plain_prediction(s.base.classes(), [net = s.base](const Tensor& x) { return aggregated(members(net, x)); });
  };
  entry.twins = [](const GauntletSetting& s) {
    const auto mean = [net = s.base](const Tensor& x) { return members(net, x).mean(0); };
    return std::vector<PredictionFunction>{plain_prediction(s.base.classes(), mean), plain_prediction(s.base)};
  };
  return entry;
}

GauntletEntry mean_ensemble() {
  GauntletEntry entry{"mean-ensemble", "the same members, averaged", "", true};
  entry.prediction = [](const GauntletSetting& s) {
    return plain_prediction(s.base.classes(), [net = s.base](const Tensor& x) { return members(net, x).mean(0); });
  };
  entry.twins = [](const GauntletSetting& s) { return std::vector<PredictionFunction>{plain_prediction(s.base)}; };
  return entry;
}

}  // namespace hpm::gauntlet
