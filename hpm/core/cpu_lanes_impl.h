// defines: Lanes, Mask, HPM_WIDE, load(), store(), total(), padded(), row_buffer(), data()
#pragma once
#include <ATen/core/Tensor.h>

#include <cstring>
#include <vector>

namespace hpm {

// Sixteen floats at once: one AVX-512 register, two of AVX2, four of SSE. A function marked HPM_WIDE is compiled for
// each of these; when the program starts, the widest version that the processor has is chosen.
using Lanes = float __attribute__((vector_size(64)));
using Mask = int __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define HPM_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HPM_WIDE
#endif
#define HPM_INLINE inline __attribute__((always_inline))

HPM_INLINE void load(const float* from, Lanes& v) { std::memcpy(&v, from, sizeof v); }
HPM_INLINE void store(const Lanes& v, float* to) { std::memcpy(to, &v, sizeof v); }
HPM_INLINE double total(const Lanes& v) {
  double sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += static_cast<double>(v[i]);
  return sum;
}

inline int64_t padded(int64_t dims) { return (dims + kLanes - 1) / kLanes * kLanes; }

/// Room for a row, padded with zeros to whole lanes.
inline std::vector<float> row_buffer(int64_t dims) {
  return std::vector<float>(static_cast<size_t>(padded(dims)), 0.f);
}

inline const float* data(const Tensor& t) { return t.const_data_ptr<float>(); }

}  // namespace hpm
