// defines: project_without_sort(), boundary_step_without_sort()
#pragma once
#include "hpm/core/norms.h"

namespace hpm {

// Kernels as of cpu_kernels_impl.h for hyperplane.h.

/// project_hyperplane() without sorting. points, w [M,D], b [M] -> [M,D].
Tensor project_without_sort(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm);

/// boundary_step() with these projections. x, x0, w [M,D], b [M] -> [M,D].
Tensor boundary_step_without_sort(const Tensor& x, const Tensor& x0, const Tensor& w, const Tensor& b, Norm norm,
                                  double eta, double alpha_max);

}  // namespace hpm
