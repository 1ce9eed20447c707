#include "hpm/gauntlet/input_filters.h"

#include <numbers>

namespace hpm::gauntlet {
namespace {

/// A defence that changes the image before the network sees it; knowing it, one goes backward as if it did not.
GauntletEntry filter(std::string name, std::string mechanism, std::string source,
                     std::function<Tensor(const Tensor& x)> change) {
  GauntletEntry entry{
      std::move(name), std::move(mechanism), std::move(source), false, {Cause::zero, Cause::shattered, Cause::masked}};
  entry.prediction = [change](const GauntletSetting& s) {
    return plain_prediction(s.base.classes(),
                            [net = s.base, change](const Tensor& x) { return net.logits(change(x)); });
  };
  entry.twins = [change](const GauntletSetting& s) {
    const auto bpda = [net = s.base, change](const Tensor& x) { return net.logits(through(change(x), x)); };
    return std::vector<PredictionFunction>{plain_prediction(s.base.classes(), bpda), plain_prediction(s.base)};
  };
  return entry;
}

/// The orthonormal cosine transform of 4 values, [4,4].
Tensor cosine_basis() {
  const auto i = at::arange(4).to(at::kDouble);
  auto basis = at::cos(std::numbers::pi / 4 * (i + .5).unsqueeze(0) * i.unsqueeze(1)) * std::sqrt(.5);
  basis[0] *= std::sqrt(.5);
  return basis.to(at::kFloat);
}

}  // namespace

GauntletEntry bit_depth() {
  return filter("bit-depth", "pixels rounded to three levels: the gradient is zero",
                "Guo et al., arXiv:1711.00117; Athalye et al., arXiv:1802.00420",
                [](const Tensor& x) { return (2 * x).round() / 2; });
}

GauntletEntry block_rounding() {
  return filter("block-rounding", "cosine coefficients of 4x4 blocks rounded, as JPEG does",
                "Guo et al., arXiv:1711.00117; Shin and Song 2017; Athalye et al., arXiv:1802.00420",
                [](const Tensor& x) {
                  const auto basis = cosine_basis().to(x.options());
                  const auto n = x.size(0), c = x.size(1), h = x.size(2) / 4, w = x.size(3) / 4;
                  const auto blocks = x.view({n, c, h, 4, w, 4}).permute({0, 1, 2, 4, 3, 5});
                  const auto coefficients = (basis.matmul(blocks).matmul(basis.t()) * 3).round() / 3;
                  const auto back = basis.t().matmul(coefficients).matmul(basis);
                  return back.permute({0, 1, 2, 4, 3, 5}).reshape_as(x);
                });
}

GauntletEntry thermometer() {
  return filter("thermometer", "each pixel as a code of ten thresholds: the gradient is zero",
                "Buckman et al., ICLR 2018; Athalye et al., arXiv:1802.00420", [](const Tensor& x) {
                  Tensor level = at::zeros_like(x);
                  for (int i = 1; i <= 10; ++i) level = level + x.ge(i / 10. - .05).to(x.scalar_type());
                  return level / 10 + 0 * x;
                });
}

}  // namespace hpm::gauntlet
