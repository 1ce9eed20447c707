// defines: load_arrays(), load_unlabelled_arrays()
#pragma once
#include <string>

#include "hpm/data/dataset.h"

namespace hpm {

/// Images and labels as numpy saves them. Images: [N,H,W,C] or [N,C,H,W] with 1 or 3 channels, or [N,H,W]; integers in
/// 0..255, which become uint8, or floating point in [0,1], which becomes float32. Values up to 1e-6 outside are
/// clamped, with a note; NaN and what lies further outside are errors that name the image. Labels: integers [N] or
/// [N,1], from 0.
///   x.npz   images in "<split>_images", "x_<split>", "images" or "x", labels in "<split>_labels", "y_<split>",
///   "labels"
///           or "y", the first that is there; held in memory
///   x.npy   images, with labels.npy beside it, as in CIFAR-10-C (D. Hendrycks, T. Dietterich, ICLR 2019); read when
///           they are asked for
Dataset load_arrays(const std::string& path, const std::string& split);

/// Images alone: x.npy, or those of x.npz (its only array, or "images", "x" or the names with test).
Dataset load_unlabelled_arrays(const std::string& path);

}  // namespace hpm
