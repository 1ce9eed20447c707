// defines: ImageOptions, prepare_image()
#pragma once
#include <ATen/core/Tensor.h>

#include "hpm/core/fields.h"
#include "hpm/io/image.h"

namespace hpm {

/// How the images of a folder are brought to one size: torchvision's Resize and CenterCrop on PIL images.
struct ImageOptions {
  int64_t resize = 0;                      ///< length of the shorter side, pixels; 0: as it is
  int64_t crop = 0;                        ///< side of the square cut from the middle, pixels; 0: all of it
  std::string interpolation = "bilinear";  ///< or "bicubic"; both with antialiasing, as PIL does
};
void fields(Fields& f, ImageOptions& o);

/// Resizes and crops a picture; uint8 [3,H,W], contiguous. The shorter side becomes `resize`, the longer
/// floor(resize * longer / shorter); the crop begins at half the excess, rounded half to even. Throws Error for a
/// picture smaller than the crop; `name` is for the message.
at::Tensor prepare_image(const Picture& picture, const ImageOptions& options, const std::string& name);

}  // namespace hpm
