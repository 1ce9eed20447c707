#include "hpm/report/png.h"

#include <zlib.h>

#include "hpm/core/error.h"

namespace hpm {
namespace {

void append_big_endian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}

const Bytef* bytes_of(std::string_view text) { return reinterpret_cast<const Bytef*>(text.data()); }

void append_chunk(std::string& out, const std::string& type, const std::string& data) {
  const auto checked = type + data;
  append_big_endian(out, static_cast<uint32_t>(data.size()));
  out += checked;
  append_big_endian(out, static_cast<uint32_t>(crc32(0, bytes_of(checked), static_cast<uInt>(checked.size()))));
}

std::string deflated(const std::string& raw) {
  auto size = compressBound(raw.size());
  std::string out(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(out.data()), &size, bytes_of(raw), raw.size(), Z_BEST_COMPRESSION) != Z_OK)
    fail("encode_png: zlib could not compress {} bytes", raw.size());
  out.resize(size);
  return out;
}

}  // namespace

std::string encode_png(std::span<const uint8_t> pixels, int64_t width, int64_t height, int64_t channels) {
  constexpr int64_t kLargest = 1 << 14;
  require(channels == 1 || channels == 3, "encode_png: needs 1 or 3 channels, but got {}", channels);
  require(width > 0 && height > 0 && width <= kLargest && height <= kLargest,
          "encode_png: needs sides of 1 to {} pixels, but got {} x {}", kLargest, width, height);
  const auto row = width * channels;
  require(static_cast<int64_t>(pixels.size()) == row * height, "encode_png: needs {} x {} x {} = {} bytes, but got {}",
          height, width, channels, row * height, pixels.size());

  std::string header, lines;
  append_big_endian(header, static_cast<uint32_t>(width));
  append_big_endian(header, static_cast<uint32_t>(height));
  header += {8, static_cast<char>(channels == 1 ? 0 : 2), 0, 0, 0};
  for (int64_t y = 0; y < height; ++y) {
    lines += '\0';  // filter "none": most of these images are noise or flat
    lines.append(reinterpret_cast<const char*>(pixels.data()) + y * row, static_cast<size_t>(row));
  }
  std::string out = "\x89PNG\r\n\x1a\n";
  append_chunk(out, "IHDR", header);
  append_chunk(out, "IDAT", deflated(lines));
  append_chunk(out, "IEND", "");
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string png_data_uri(std::string_view png) { return "data:image/png;base64," + base64(png); }

}  // namespace hpm
