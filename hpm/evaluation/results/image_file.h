// defines: write_image_file(), read_image_file()
#pragma once
#include <string>

#include "hpm/attacks/images.h"

namespace hpm {

/// Writes images with labels and numbers (tensors "images" [N,C,H,W], "labels" [N], "index" [N]) to a safetensors file,
/// `batch_size` of them in memory at a time. With `eight_bits` the images are uint8: value * 255, rounded; else
/// float32.
void write_image_file(const std::string& path, const ImageSet& images, int64_t batch_size, bool eight_bits = false);

/// The pixels of a file that write_image_file wrote in float32, as versions of `images`, read when they are asked for.
ImageSet read_image_file(const std::string& path, const ImageSet& images);

}  // namespace hpm
