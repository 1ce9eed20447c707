// The decoders behind decode_image(). Each has a stub for builds without its library.
#pragma once
#include <span>
#include <string>

#include "hpm/io/image.h"

namespace hpm {

Picture decode_jpeg(const ByteSource& source, std::span<const std::byte> file);
Picture decode_png(const ByteSource& source, std::span<const std::byte> file);

/// The libraries and their versions, empty where this build has none.
std::string jpeg_library();
std::string png_library();

/// A picture with its memory; throws Error for a size beyond the limits.
Picture make_picture(const ByteSource& source, uint64_t width, uint64_t height);

}  // namespace hpm
