// defines: sha256(), sha256_of_file(), Sha256
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hpm/io/bytes.h"

namespace hpm {

class Digest;

/// SHA-256 (FIPS 180-4) of bytes that come in pieces; computed by OpenSSL.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::span<const std::byte> bytes);
  std::string hex();  ///< 64 lower-case digits; ends the computation

 private:
  std::unique_ptr<Digest> digest_;
};

std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);
std::string sha256_of(const ByteSource& source);
std::string sha256_of_file(const std::string& path);

}  // namespace hpm
