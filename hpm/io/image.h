// defines: Picture, decode_image(), has_image_extension()
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "hpm/io/bytes.h"

namespace hpm {

/// A decoded image: RGB, 8 bits a sample, [height,width,3].
struct Picture {
  int64_t width = 0, height = 0;
  Bytes pixels;
};

/// What an image may have at most; checked before the memory is taken.
inline constexpr int64_t kLargestSide = 65500, kLargestPicture = 89'478'485;  ///< pixels (Pillow warns beyond)
inline constexpr uint64_t kLargestImageFile = uint64_t{256} << 20;            ///< bytes

/// Decodes a JPEG or PNG file, told by its first bytes, as Pillow's Image.open(path).convert("RGB") does: gray is
/// repeated, a palette resolved, alpha dropped, orientation tags ignored, 16 bits cut to the upper 8; CMYK as Adobe
/// writes it. Throws Error for a broken, truncated or too large file, and for a format that this build cannot read.
Picture decode_image(const ByteSource& source);

/// ".jpg", ".jpeg" or ".png", in any case.
bool has_image_extension(std::string_view name);

}  // namespace hpm
