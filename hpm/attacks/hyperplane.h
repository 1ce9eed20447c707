// defines: project_hyperplane(), project_hyperplane_sorted()
#pragma once
#include <ATen/core/Tensor.h>

#include "hpm/core/norms.h"

namespace hpm {

/// The displacement of smallest norm that brings each point onto its hyperplane {v : <w, v> = b} without leaving the
/// box [0,1]; towards the nearest corner where the hyperplane does not meet the box. points, w [M,D], b [M] -> [M,D].
/// Coordinates with w = 0 (L2, L1: |w| <= 1e-8) stay. (Croce and Hein, "Minimally distorted adversarial examples with a
/// fast adaptive boundary attack", ICML 2020, arXiv:1907.02044, eq. 4 and appendix A.)
///
/// Linf and L2 lead to one increasing, concave, piecewise linear equation per point, sum_i g_i min(t, q_i) = c. On the
/// CPU it is solved by Newton's method, which needs a few passes over the D numbers and no sort.
Tensor project_hyperplane(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm);

/// The same by sorting and bisection, with the operations of the authors' code in their order, so that the last bits
/// are theirs too.
Tensor project_hyperplane_sorted(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm);

}  // namespace hpm
