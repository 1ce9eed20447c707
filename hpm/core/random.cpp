#include "hpm/core/random.h"

#include <ATen/Parallel.h>
#include <ATen/core/PhiloxRNGEngine.h>

#include "hpm/core/error.h"

namespace hpm {
namespace {

/// splitmix64's finaliser: a bijective mixing of 64 bits.
uint64_t mix(uint64_t v) {
  v += 0x9e3779b97f4a7c15ull;
  v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9ull;
  v = (v ^ (v >> 27)) * 0x94d049bb133111ebull;
  return v ^ (v >> 31);
}

float to_unit(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

/// Fills each row from its own stream, `fill(engine, data, count)`.
template <class Fill>
Tensor fill_rows(const Tensor& index, at::IntArrayRef tail, uint64_t key, int64_t position, Fill fill) {
  require(index.dim() == 1 && index.scalar_type() == at::kLong && index.device().is_cpu(),
          "RandomStreams: index needs to be int64 [N] on the CPU, but is {} with {} dimensions",
          c10::toString(index.scalar_type()), index.dim());
  require(position % 4 == 0, "RandomStreams: position needs to be a multiple of 4, but is {}", position);
  std::vector<int64_t> shape{index.size(0)};
  shape.insert(shape.end(), tail.begin(), tail.end());
  auto out = at::empty(shape, at::kFloat);
  const auto rows = index.contiguous();
  const int64_t* image = rows.data_ptr<int64_t>();
  const int64_t n = rows.size(0), width = n ? out.numel() / n : 0;
  float* data = out.data_ptr<float>();
  at::parallel_for(0, n, std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      at::Philox4_32 engine(key, static_cast<uint64_t>(image[i]), static_cast<uint64_t>(position / 4));
      fill(engine, data + i * width, width);
    }
  });
  return out;
}

}  // namespace

uint64_t RandomStreams::key(const Purpose& purpose) const {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a over the name
  for (unsigned char c : purpose.name) hash = (hash ^ c) * 0x100000001b3ull;
  hash = mix(hash ^ mix(static_cast<uint64_t>(purpose.restart)));
  hash = mix(hash ^ mix(static_cast<uint64_t>(purpose.target) + 0x51ull));
  return mix(hash ^ mix(seed_));
}

Tensor RandomStreams::uniform(const Tensor& index, const Purpose& purpose, at::IntArrayRef tail,
                              int64_t position) const {
  return fill_rows(index, tail, key(purpose), position, [](at::Philox4_32& engine, float* out, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[i] = to_unit(engine());
  });
}

Tensor RandomStreams::normal(const Tensor& index, const Purpose& purpose, at::IntArrayRef tail,
                             int64_t position) const {
  // Box-Muller: two uniforms give two normals.
  return fill_rows(index, tail, key(purpose), position, [](at::Philox4_32& engine, float* out, int64_t count) {
    for (int64_t i = 0; i < count; i += 2) {
      const double radius = std::sqrt(-2 * std::log(1. - static_cast<double>(to_unit(engine()))));
      const double angle = 2 * M_PI * static_cast<double>(to_unit(engine()));
      out[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < count) out[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  });
}

Tensor RandomStreams::permutation(int64_t n, const Purpose& purpose) const {
  auto order = at::arange(n, at::kLong);
  int64_t* data = order.data_ptr<int64_t>();
  at::Philox4_32 engine(key(purpose), 0, 0);
  for (int64_t i = n - 1; i > 0; --i) {
    const uint64_t word = (static_cast<uint64_t>(engine()) << 32) | engine();
    std::swap(data[i], data[static_cast<int64_t>(word % static_cast<uint64_t>(i + 1))]);
  }
  return order;
}

}  // namespace hpm
