// defines: quantised()
#pragma once
#include "hpm/core/norms.h"

namespace hpm {

/// Adversarial images as a file with 8 bits a value holds them: rounded to k / 255. A row that rounding takes out of
/// the ball is rounded towards its original instead. For this every value of the original must be a multiple of 1 /
/// 255. x_adv, x [N,C,H,W] in [0,1] -> [N,C,H,W]. Throws UsageError for other originals.
Tensor quantised(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat);

}  // namespace hpm
