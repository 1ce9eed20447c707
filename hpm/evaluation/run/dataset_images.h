// defines: image_set(), sha256_of_images()
#pragma once
#include <string>

#include "hpm/attacks/images.h"
#include "hpm/data/dataset.h"

namespace hpm {

/// The images `index` [n] int64 of a data set, loaded when they are asked for; adversarial versions go to an unnamed
/// file in the folder `scratch`.
ImageSet image_set(const Dataset& data, const Tensor& index, at::Device device, const std::string& scratch = {});

/// SHA-256 of the numbers, labels and contents of these images.
std::string sha256_of_images(const Dataset& data, const Tensor& index);

}  // namespace hpm
