// defines: project_hyperplane(), project_hyperplane_sorted(), boundary_step()
#pragma once
#include <ATen/core/Tensor.h>

#include "hpm/core/norms.h"

namespace hpm {

/// The displacement of smallest norm that brings each point onto its hyperplane {v : <w, v> = b} without leaving the
/// box [0,1]; towards the nearest corner where the hyperplane does not meet the box. points, w [M,D], b [M] -> [M,D].
/// Coordinates with w = 0 (L2, L1: |w| <= 1e-8) stay. (Croce and Hein, "Minimally distorted adversarial examples with a
/// fast adaptive boundary attack", ICML 2020, arXiv:1907.02044, eq. 4 and appendix A.)
///
/// Linf and L2 lead to one increasing, concave, piecewise linear equation per point, sum_i g_i min(t, q_i) = c. For
/// float32 on the CPU it is solved by Newton's method, which needs a few passes over the D numbers and no sort; L1 by
/// selection.
Tensor project_hyperplane(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm);

/// The same by sorting and bisection, with the operations of the authors' code in their order, so that the last bits
/// are theirs too.
Tensor project_hyperplane_sorted(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm);

struct BoundaryStep {
  double eta = 1.05, alpha_max = .1;
  bool sorted = false;  ///< project_hyperplane_sorted()
};

/// FAB's step: with d, d0 the projections of x and of the original x0 onto the boundary and alpha = min(|d| / (|d| +
/// |d0|), alpha_max), the point (1 - alpha)(x + eta d) + alpha (x0 + eta d0), clamped to the box. x, x0 [M,...], w
/// [M,D], b [M] -> [M,...]. (arXiv:1907.02044, eq. 6 to 9.)
Tensor boundary_step(const Tensor& x, const Tensor& x0, const Tensor& w, const Tensor& b, Norm norm,
                     const BoundaryStep& step);

}  // namespace hpm
