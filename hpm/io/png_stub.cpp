// In place of png.cpp in a build without libpng.
#include "hpm/io/image_impl.h"

namespace hpm {

Picture decode_png(const ByteSource& source, std::span<const std::byte>) {
  source.fail_at(0, "this build cannot read PNG files; apt-get install libpng-dev, and build again");
}
std::string png_library() { return {}; }

}  // namespace hpm
