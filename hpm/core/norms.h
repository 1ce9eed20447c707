// defines: Norm, ThreatModel, norm_of_rows(), project(), project_l1_box(), inside(), shrink_into(), random_start()
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace hpm {

using at::Tensor;

enum class Norm { linf, l2, l1 };

/// "Linf", "L2" or "L1", in any case. Throws UsageError for anything else.
Norm parse_norm(const std::string& name);
std::string to_string(Norm norm);

/// What the attacker may do: add a perturbation of norm at most eps, and stay inside the box [0,1].
struct ThreatModel {
  Norm norm = Norm::linf;
  double eps = 8.0 / 255;  ///< radius, in units of the input range [0,1]
};

/// The norm of each row. delta [N,...] -> [N].
Tensor norm_of_rows(const Tensor& delta, Norm norm);

/// x [N,...] viewed for broadcasting per-row values: v [N] -> [N,1,...,1].
Tensor per_row(const Tensor& v, const Tensor& like);

/// Brings x_adv into the ball around x and into the box [0,1]. Linf: clips to both. L2: rescales the perturbation, then
/// clips to the box. L1: takes the nearest point of the intersection. x_adv, x [N,...] -> [N,...].
Tensor project(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat);

/// Displacement d such that x + y + d is the projection of x + y onto the L1 ball of radius eps around x intersected
/// with the box [0,1] (Croce and Hein, "Mind the box", arXiv:2103.01208, Proposition 2.1), by bisection over the sorted
/// breakpoints. x, y [N,...] -> d [N,...]. Rows already inside only get the box correction.
Tensor project_l1_box(const Tensor& x, const Tensor& y, double eps);

/// The largest norm of a perturbation that counts as inside, for images of D numbers: eps (1 + 1e-6) + 1e-7 D^(1/p).
/// The excess over eps is what float32 rounding can add.
double allowed_norm(const ThreatModel& threat, int64_t dims);

/// Whether each row lies in the ball around x, measured in double, and in the box [0,1]. x_adv, x [N,...] -> [N] bool.
Tensor inside(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat);

/// Shortens perturbations that rounding left longer than eps, and clamps to the box. (In float32 project_l1_box
/// overshoots by up to 5e-4 of eps.) x_adv, x [N,...] -> [N,...].
Tensor shrink_into(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat);

/// The sphere point that APGD starts from: `noise` [N,...] scaled to norm eps (by max |t| for Linf), added to x,
/// clamped to [0,1] for Linf and L2; for L1 projected exactly. (Croce and Hein, arXiv:2003.01690.)
Tensor random_start(const Tensor& x, const Tensor& noise, const ThreatModel& threat);

}  // namespace hpm
