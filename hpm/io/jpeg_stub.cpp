// In place of jpeg.cpp in a build without libturbojpeg.
#include "hpm/io/image_impl.h"

namespace hpm {

Picture decode_jpeg(const ByteSource& source, std::span<const std::byte>) {
  source.fail_at(0, "this build cannot read JPEG files; apt-get install libturbojpeg0-dev, and build again");
}
std::string jpeg_library() { return {}; }

}  // namespace hpm
