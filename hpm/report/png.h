// defines: encode_png(), base64(), png_data_uri()
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace hpm {

/// A PNG file (8 bits a sample, no interlacing) of `pixels` [height,width,channels]; 1 channel is gray, 3 are RGB.
std::string encode_png(std::span<const uint8_t> pixels, int64_t width, int64_t height, int64_t channels);

/// RFC 4648, with padding.
std::string base64(std::string_view bytes);

/// "data:image/png;base64,..." of a PNG file.
std::string png_data_uri(std::string_view png);

}  // namespace hpm
