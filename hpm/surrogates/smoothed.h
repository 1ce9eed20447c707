// defines: SmoothedOptions, smoothed_surrogate()
#pragma once
#include <functional>

#include "hpm/surrogates/surrogate.h"

namespace hpm {

struct SmoothedOptions {
  double sigma = .01;   ///< standard deviation of the noise, in units of the input range
  int64_t samples = 8;  ///< noisy copies of an image: passes for one gradient
  uint64_t seed = 0;    ///< of the noise
};

/// The surrogate `smoothed`: the mean of a model's logits over copies of the image with normal noise, whose gradient is
/// that of the smoothed function (randomised smoothing as an attack on shattered gradients; Tramer et al. 2020,
/// arXiv:2002.08347, section 5). The noise of an image depends on the seed and its number alone, so that the smoothed
/// function stays the same during an attack. `logits`: x [N,C,H,W] -> [N,K].
Surrogate smoothed_surrogate(std::function<Tensor(const Tensor& x)> logits, const SmoothedOptions& options);

}  // namespace hpm
