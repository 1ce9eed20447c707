// defines: runs_on_kernels(), linf_momentum_step(), copy_rows_where(), order_statistic(), l1_ball_in_box()
#pragma once
#include "hpm/core/norms.h"

namespace hpm {

// Single loops over the rows of contiguous float32 tensors on the CPU, each in place of ten or more tensor operations
// that would go through memory one after the other. Rows are spread over LibTorch's threads.

/// Whether all tensors are contiguous float32 on the CPU (undefined ones count as such).
bool runs_on_kernels(std::initializer_list<Tensor> tensors);

/// APGD's step for Linf, bit for bit as the tensor operations: with P the projection onto ball and box,
///     z = P(x_adv + step sign(gradient)),  P(x_adv + momentum (z - x_adv) + (1 - momentum)(x_adv - x_old)).
/// x, x_adv, x_old, gradient [M,...], step [M] -> [M,...].
Tensor linf_momentum_step(const Tensor& x, const Tensor& x_adv, const Tensor& x_old, const Tensor& gradient,
                          const Tensor& step, double momentum, double eps);

/// Copies the rows of `from` [M,...] where flags [M] bool into `to`, in place.
void copy_rows_where(const Tensor& flags, const Tensor& from, const Tensor& to);

/// In each row the value that `place` [M] int64 others are below, with NaN above all numbers: values [M,D] -> [M].
Tensor order_statistic(const Tensor& values, const Tensor& place);

/// x + y projected onto the L1 ball of radius eps around x in the box [0,1], by bisection on the shrinkage. [M,...] ->
/// [M,...].
Tensor l1_ball_in_box(const Tensor& x, const Tensor& y, double eps);

}  // namespace hpm
