#include "hpm/io/sha256.h"

#include <algorithm>

#include "hpm/io/digest_impl.h"
#include "hpm/io/file.h"

namespace hpm {

Sha256::Sha256() : digest_(std::make_unique<Digest>(EVP_sha256())) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
void Sha256::update(std::span<const std::byte> bytes) { digest_->update(bytes); }
std::string Sha256::hex() { return digest_->hex(); }

std::string sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

std::string sha256_of(const ByteSource& source) {
  Sha256 hash;
  Bytes buffer(std::min<uint64_t>(source.size(), 1 << 18));
  for (uint64_t at = 0; at < source.size(); at += buffer.size()) {
    const auto piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), source.size() - at));
    source.read(at, piece);
    hash.update(piece);
  }
  return hash.hex();
}

std::string sha256_of_file(const std::string& path) { return sha256_of(FileSource(path)); }

}  // namespace hpm
