// defines: MassMove, moved_mass(), onto_l2_sphere_in_box()
#pragma once
#include "hpm/core/norms.h"

namespace hpm {

// Kernels as of cpu_kernels_impl.h for Square with L2 and L1.

/// What Square's step for L2 and L1 moves: the perturbations best - x with the mass of window 2 taken out and added to
/// window 1 (square.cpp, with_moved_mass). x, best [M,C,H,W]; corners [M,2] int64; eta [side,side], transposed where
/// turned [M] bool; signs [M,C] -> [M,C,H,W].
struct MassMove {
  Tensor corner, corner_two, eta, turned, signs;
};
Tensor moved_mass(const Tensor& x, const Tensor& best, const MassMove& move, double eps, bool euclidean);

/// x + delta rescaled to L2 norm eps, clamped to the box. [M,...] -> [M,...].
Tensor onto_l2_sphere_in_box(const Tensor& x, const Tensor& delta, double eps);

}  // namespace hpm
