#include "hpm/attacks/quantise.h"

#include "hpm/core/error.h"

namespace hpm {

Tensor quantised(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat) {
  const auto level = (x * 255.).round();
  require((x * 255. - level).abs().lt(1e-3).all().item<bool>(),
          "quantised: needs originals of 8 bits a value, but got values that are no multiple of 1/255");
  const auto nearest = (x_adv * 255.).round() / 255.;
  const auto towards = (level + ((x_adv - x) * 255.).trunc()) / 255.;
  return at::where(per_row(inside(nearest, x, threat), x), nearest, towards);
}

}  // namespace hpm
