// defines: AugmentOptions, augment(), Mixed, cutmix()
#pragma once
#include "hpm/core/fields.h"
#include "hpm/core/random.h"

namespace hpm {

/// Random changes of training images.
struct AugmentOptions {
  int64_t crop = 2;    ///< pixels of zero padding on each side before a random crop to the old size; 0: none
  bool flip = true;    ///< mirror left and right with probability 1/2
  int64_t cutout = 0;  ///< side in pixels of a grey square at a random place; 0: none
  double cutmix = 0;   ///< probability that an image gets a rectangle of another one
};
void fields(Fields& f, AugmentOptions& o);

/// Crop, mirroring and cutout (DeVries and Taylor, arXiv:1708.04552: the square's centre is uniform over the pixels, so
/// that it may lie partly outside; its pixels become .5). Changes row i of x [N,C,H,W] as the random stream of (seed,
/// index[i], epoch) says, whatever the batch. index [N] int64 (CPU).
Tensor augment(const Tensor& x, const Tensor& index, const AugmentOptions& options, const RandomStreams& streams,
               int64_t epoch);

/// Images with a rectangle of another one, and their labels.
struct Mixed {
  Tensor x;        ///< [N,C,H,W]
  Tensor y;        ///< [N]: the label of the larger part
  Tensor targets;  ///< [N,K]: the parts' shares of the area
};

/// CutMix (Yun et al., ICCV 2019, arXiv:1905.04899, eq. 1): with `probability`, row i gets a rectangle of row i + 1
/// (the last row: of the first). Its area is a uniform share of the image before it is cut at the borders, its centre
/// uniform; both depend on (seed, index[i], epoch) alone. x [N,C,H,W], y [N] int64, index [N] int64 (CPU).
Mixed cutmix(const Tensor& x, const Tensor& y, const Tensor& index, double probability, int64_t classes,
             const RandomStreams& streams, int64_t epoch);

}  // namespace hpm
