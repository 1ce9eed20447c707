#include "hpm/io/image.h"

#include <algorithm>
#include <cctype>

#include "hpm/io/foreign_content.h"
#include "hpm/io/image_impl.h"

namespace hpm {

Picture make_picture(const ByteSource& source, uint64_t width, uint64_t height) {
  constexpr auto side = static_cast<uint64_t>(kLargestSide), area = static_cast<uint64_t>(kLargestPicture);
  if (width == 0 || height == 0 || width > side || height > side || width * height > area)
    source.fail_at(0, "an image of {}x{} pixels; up to {} pixels are read, {} on a side", width, height, area, side);
  return {static_cast<int64_t>(width), static_cast<int64_t>(height), Bytes(width * height * 3)};
}

Picture decode_image(const ByteSource& source) {
  if (source.size() > kLargestImageFile)
    source.fail_at(0, "an image file of {} bytes; at most {} are read", source.size(), kLargestImageFile);
  const Bytes file = source.read(0, source.size());
  if (file.text().starts_with("\xFF\xD8\xFF")) return decode_jpeg(source, file);
  if (file.text().starts_with("\x89PNG\r\n\x1A\n")) return decode_png(source, file);
  refuse_foreign_content(source);
  source.fail_at(0, "this is neither a JPEG nor a PNG file");
}

bool has_image_extension(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower.ends_with(".jpg") || lower.ends_with(".jpeg") || lower.ends_with(".png");
}

}  // namespace hpm
