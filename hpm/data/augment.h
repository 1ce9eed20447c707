// defines: AugmentOptions, augment()
#pragma once
#include "hpm/core/fields.h"
#include "hpm/core/random.h"

namespace hpm {

/// Random crop and mirroring of training images.
struct AugmentOptions {
  int64_t crop = 2;  ///< pixels of zero padding on each side before a random crop to the old size; 0: none
  bool flip = true;  ///< mirror left and right with probability 1/2
};
void fields(Fields& f, AugmentOptions& o);

/// Moves row i of x [N,C,H,W] as the random stream of (seed, index[i], epoch) says, whatever the batch. index [N] int64
/// (CPU).
Tensor augment(const Tensor& x, const Tensor& index, const AugmentOptions& options, const RandomStreams& streams,
               int64_t epoch);

}  // namespace hpm
