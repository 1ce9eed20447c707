// defines: sha256(), sha256_of_file(), Sha256
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "hpm/io/bytes.h"

namespace hpm {

/// SHA-256 (FIPS 180-4) of bytes that come in pieces.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  std::string hex();  ///< 64 lower-case digits; ends the computation

 private:
  std::array<uint32_t, 8> state_;
  std::array<std::byte, 64> block_;
  uint64_t size_ = 0;
};

std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);
std::string sha256_of(const ByteSource& source);
std::string sha256_of_file(const std::string& path);

}  // namespace hpm
