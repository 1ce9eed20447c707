#include "hpm/io/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "hpm/io/file.h"
#include "hpm/io/sha256_impl.h"

namespace hpm {
namespace {

void compress(Sha256State& state, std::span<const std::byte> blocks) {
  static const bool hardware = sha256_hardware_available();
  hardware ? sha256_compress_hardware(state, blocks) : sha256_compress_portable(state, blocks);
}

}  // namespace

// FIPS 180-4, 6.2.2
void sha256_compress_portable(Sha256State& state, std::span<const std::byte> blocks) {
  for (; !blocks.empty(); blocks = blocks.subspan(64)) {
    std::array<uint32_t, 64> w;
    std::memcpy(w.data(), blocks.data(), 64);
    for (size_t t = 0; t < 16; ++t) w[t] = __builtin_bswap32(w[t]);
    for (size_t t = 16; t < 64; ++t) {
      const uint32_t a = w[t - 15], b = w[t - 2];
      w[t] = w[t - 16] + w[t - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3)) +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10));
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (size_t t = 0; t < 64; ++t) {
      const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + sha256_constants[t] + w[t];
      const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const Sha256State added{a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < 8; ++i) state[i] += added[i];
  }
}

Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::update(std::span<const std::byte> bytes) {
  const size_t held = size_ % 64;
  size_ += bytes.size();
  if (held > 0) {
    const size_t count = std::min(bytes.size(), 64 - held);
    std::memcpy(block_.data() + held, bytes.data(), count);
    bytes = bytes.subspan(count);
    if (held + count < 64) return;
    compress(state_, block_);
  }
  const size_t whole = bytes.size() / 64 * 64;
  compress(state_, bytes.first(whole));
  if (bytes.size() > whole) std::memcpy(block_.data(), bytes.data() + whole, bytes.size() - whole);
}

std::string Sha256::hex() {
  const uint64_t bits = __builtin_bswap64(size_ * 8);
  std::array<std::byte, 72> padding{std::byte{0x80}};
  const size_t zeros_end = size_ % 64 < 56 ? 56 - size_ % 64 : 120 - size_ % 64;
  std::memcpy(padding.data() + zeros_end, &bits, 8);
  update(std::span(padding).first(zeros_end + 8));
  std::string out;
  for (const uint32_t word : state_) out += fmt::format("{:08x}", word);
  return out;
}

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
