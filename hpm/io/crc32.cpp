#include "hpm/io/crc32.h"

#include <zlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hpm {
namespace {

uint32_t crc32_of_zlib(std::span<const std::byte> bytes, uint32_t so_far) {
  if (bytes.empty()) return so_far;  // zlib starts anew at a null pointer
  return static_cast<uint32_t>(crc32_z(so_far, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

#if defined(__x86_64__)

// V. Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ instruction", Intel 2009: the message,
// reflected, is folded 64 bytes onto the next 64, then 16 onto the next 16, then reduced from 128 to 32 bits. The
// constants are x^n modulo the polynomial, reflected: n = 4*128+32, 4*128-32; 128+32, 128-32; 64.
__attribute__((target("pclmul,sse4.1"))) __m128i folded(__m128i a, __m128i onto, __m128i by) {
  const __m128i low = _mm_clmulepi64_si128(a, by, 0x00), high = _mm_clmulepi64_si128(a, by, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

/// At least 64 bytes, a multiple of 16.
__attribute__((target("pclmul,sse4.1"))) uint32_t crc32_of_blocks(const std::byte* at, size_t size, uint32_t so_far) {
  const auto next = [&] {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    at += 16, size -= 16;
    return v;
  };
  const __m128i by_512 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4),
                by_128 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
  __m128i a = next(), b = next(), c = next(), d = next();
  a = _mm_xor_si128(a, _mm_cvtsi32_si128(static_cast<int>(~so_far)));
  while (size >= 64)
    a = folded(a, next(), by_512), b = folded(b, next(), by_512), c = folded(c, next(), by_512),
    d = folded(d, next(), by_512);
  a = folded(folded(folded(a, b, by_128), c, by_128), d, by_128);
  while (size >= 16) a = folded(a, next(), by_128);

  const __m128i low_32 = _mm_set_epi32(0, -1, 0, -1);
  a = _mm_xor_si128(_mm_clmulepi64_si128(a, by_128, 0x10), _mm_srli_si128(a, 8));
  const __m128i by_64 = _mm_set_epi64x(0, 0x0163cd6124);
  a = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(a, low_32), by_64, 0x00), _mm_srli_si128(a, 4));
  const __m128i barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);  // the polynomial, and x^64 over it
  __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(a, low_32), barrett, 0x10);
  quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, low_32), barrett, 0x00);
  return ~static_cast<uint32_t>(_mm_extract_epi32(_mm_xor_si128(a, quotient), 1));
}

bool has_carryless_multiplication() {
  static const bool has = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  return has;
}

#endif

}  // namespace

uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t so_far) {
#if defined(__x86_64__)
  if (const size_t blocks = bytes.size() / 16 * 16; blocks >= 64 && has_carryless_multiplication())
    return crc32_of_zlib(bytes.subspan(blocks), crc32_of_blocks(bytes.data(), blocks, so_far));
#endif
  return crc32_of_zlib(bytes, so_far);
}

}  // namespace hpm
