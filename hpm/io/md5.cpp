#include "hpm/io/md5.h"

#include <array>
#include <cmath>
#include <cstring>

namespace hpm {
namespace {

using State = std::array<uint32_t, 4>;

// floor(2^32 |sin(i + 1)|)
const std::array<uint32_t, 64>& sines() {
  static const auto table = [] {
    std::array<uint32_t, 64> out;
    for (size_t i = 0; i < 64; ++i)
      out[i] = static_cast<uint32_t>(std::floor(std::fabs(std::sin(static_cast<double>(i + 1))) * 4294967296.0));
    return out;
  }();
  return table;
}

void digest_block(State& state, const std::byte* block) {
  constexpr std::array<std::array<int, 4>, 4> turns{
      {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}}};
  std::array<uint32_t, 16> words;
  std::memcpy(words.data(), block, 64);
  auto [a, b, c, d] = state;
  for (size_t i = 0; i < 64; ++i) {
    const size_t round = i / 16;
    const uint32_t mixed = round == 0   ? (b & c) | (~b & d)
                           : round == 1 ? (d & b) | (~d & c)
                           : round == 2 ? b ^ c ^ d
                                        : c ^ (b | ~d);
    constexpr std::array<std::array<size_t, 2>, 4> step{{{1, 0}, {5, 1}, {3, 5}, {7, 0}}};  // word = factor i + start
    const uint32_t sum = a + mixed + sines()[i] + words[(step[round][0] * i + step[round][1]) % 16];
    a = d, d = c, c = b;
    b += std::rotl(sum, turns[round][i % 4]);
  }
  state = {state[0] + a, state[1] + b, state[2] + c, state[3] + d};
}

}  // namespace

std::string md5(std::span<const std::byte> bytes) {
  State state{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  const size_t whole = bytes.size() / 64 * 64, rest = bytes.size() - whole;
  for (size_t i = 0; i < whole; i += 64) digest_block(state, bytes.data() + i);
  // A one bit, zeros, and the number of bits.
  std::array<std::byte, 128> tail{};
  if (rest > 0) std::memcpy(tail.data(), bytes.data() + whole, rest);
  tail[rest] = std::byte{0x80};
  const size_t size = rest < 56 ? 64 : 128;
  const uint64_t bits = uint64_t{bytes.size()} * 8;
  std::memcpy(tail.data() + size - 8, &bits, 8);
  for (size_t i = 0; i < size; i += 64) digest_block(state, tail.data() + i);
  std::string out;
  for (const uint32_t word : state)
    for (int byte = 0; byte < 4; ++byte) out += fmt::format("{:02x}", word >> 8 * byte & 0xFF);
  return out;
}

}  // namespace hpm
