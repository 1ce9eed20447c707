#include <turbojpeg.h>

#include <algorithm>

#include "hpm/io/image_impl.h"

namespace hpm {
namespace {

/// Whether an end marker follows the segments and scans of a JPEG file (ITU-T T.81, annex B). libjpeg fills missing
/// data with gray and only warns, and its other warnings are harmless and frequent.
bool has_end(std::span<const std::byte> file) {
  const auto byte = [&](size_t i) { return std::to_integer<uint32_t>(file[i]); };
  for (size_t at = 2; at + 1 < file.size();) {
    const uint32_t marker = byte(at + 1);
    const bool parameterless = marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8);
    if (byte(at) != 0xFF || marker == 0xFF) ++at;  // inside a scan, or a fill byte
    else if (marker == 0xD9) return true;
    else if (parameterless) at += 2;
    else if (at + 3 < file.size()) at += 2 + (byte(at + 2) << 8 | byte(at + 3));
    else return false;
  }
  return false;
}

// Inverted, as Adobe writes it: 255 is no ink.
void rgb_from_cmyk(std::span<const std::byte> cmyk, Bytes& rgb) {
  const auto value = [&](size_t i) { return std::to_integer<uint32_t>(cmyk[i]); };
  for (size_t pixel = 0; pixel < rgb.size() / 3; ++pixel)
    for (size_t c = 0; c < 3; ++c) {
      const uint32_t product = value(4 * pixel + c) * value(4 * pixel + 3) + 128;
      rgb.data()[3 * pixel + c] = static_cast<std::byte>((product + (product >> 8)) >> 8);  // rounded / 255
    }
}

}  // namespace

Picture decode_jpeg(const ByteSource& source, std::span<const std::byte> file) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (!decoder) source.fail_at(0, "libturbojpeg cannot start: {}", tjGetErrorStr2(nullptr));
  const auto* data = reinterpret_cast<const unsigned char*>(file.data());
  int width = 0, height = 0, subsampling = 0, space = 0;
  if (tjDecompressHeader3(decoder.get(), data, file.size(), &width, &height, &subsampling, &space) != 0)
    source.fail_at(0, "is no intact JPEG file: {}", tjGetErrorStr2(decoder.get()));
  auto picture =
      make_picture(source, static_cast<uint64_t>(std::max(width, 0)), static_cast<uint64_t>(std::max(height, 0)));
  const bool cmyk = space == TJCS_CMYK || space == TJCS_YCCK;
  Bytes four(cmyk ? picture.pixels.size() / 3 * 4 : 0);
  auto* out = reinterpret_cast<unsigned char*>(cmyk ? four.data() : picture.pixels.data());
  const int code = tjDecompress2(decoder.get(), data, file.size(), out, width, 0, height, cmyk ? TJPF_CMYK : TJPF_RGB,
                                 TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS);
  const std::string_view message = code != 0 ? tjGetErrorStr2(decoder.get()) : "";
  if (code != 0 && (tjGetErrorCode(decoder.get()) == TJERR_FATAL || !has_end(file)))
    source.fail_at(0, "is no intact JPEG file: {}", message);
  if (cmyk) rgb_from_cmyk(four, picture.pixels);
  return picture;
}

std::string jpeg_library() { return "libturbojpeg"; }

}  // namespace hpm
