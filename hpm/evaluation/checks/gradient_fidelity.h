// defines: GradientFidelity, gradient_fidelity()
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/core/norms.h"

namespace hpm {

/// Whether the gradient that an attack follows is that of the function that it attacks. For each image the margin
/// f(x) = z_t - z_y towards the runner-up t is compared along d = sign(grad f): its slope by the gradient, |grad f|_1,
/// with the difference quotients (f(x + h d) - f(x - h d)) / 2h at h, h/2 and h/4, where h changes f by about a
/// hundredth of the spread of the logits.
struct GradientFidelity {
  int64_t images = 0;       ///< looked at: right, and with a gradient that is not zero
  int64_t shattered = 0;    ///< the quotients differ among each other: steps, jumps or noise (Athalye et al. 2018)
  int64_t other = 0;        ///< they agree, but not with the gradient: the backward pass is another function's
  int64_t flat = 0;         ///< they are all zero where the gradient is not: the function does not move at all
  double median_ratio = 1;  ///< of the finest quotient to the gradient's slope
  int64_t wrong() const { return shattered + other + flat; }
  /// Percent of the images looked at; 0 where none was.
  double share_wrong() const {
    return images == 0 ? 0 : 100. * static_cast<double>(wrong()) / static_cast<double>(images);
  }
};

/// Of the images `sample`, which the model need not have right. `largest` bounds h, in units of the input range.
GradientFidelity gradient_fidelity(AttackModel& model, const Images& sample, double largest);
/// Image passes of that, an image.
inline Passes gradient_fidelity_passes() { return {8, 1}; }

}  // namespace hpm
