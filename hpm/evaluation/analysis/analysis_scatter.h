// defines: ClassScatter, class_scatter()
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

using at::Tensor;

/// How features spread within and between classes, from sums that chunks can be added to. All double, on the CPU.
struct ClassScatter {
  Tensor sums;     ///< [K,D]
  Tensor squares;  ///< [K]: sum of |h|^2
  Tensor counts;   ///< [K]

  ClassScatter& operator+=(const ClassScatter& other);
  Tensor means() const;    ///< [K,D]; 0 for a class without samples
  double within() const;   ///< mean squared distance of a sample to the mean of its class (trace of S_w)
  double between() const;  ///< mean squared distance of that mean to the mean of all (trace of S_b)
};

/// h [N,D] and y [N] of any device.
ClassScatter class_scatter(const Tensor& h, const Tensor& y, int64_t classes);

}  // namespace hpm
