#include "hpm/models/winograd.h"

#include <ATen/Parallel.h>

#include <vector>

#include "hpm/core/cpu_lanes_impl.h"

namespace hpm {
namespace {

constexpr int64_t kIn = 6, kOut = 4, kPoints = kIn * kIn;

/// B^T d of six values.
HPM_INLINE void to_points(const Lanes d[kIn], Lanes out[kIn]) {
  const Lanes a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
  out[0] = 4 * d[0] - 5 * d[2] + d[4];
  out[1] = a + b, out[2] = a - b;
  out[3] = c + e, out[4] = c - e;
  out[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/// A^T m of six values.
HPM_INLINE void from_points(const Lanes m[kIn], Lanes out[kOut]) {
  const Lanes a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
  out[0] = m[0] + a + c;
  out[1] = b + 2 * e;
  out[2] = a + 4 * c;
  out[3] = b + 8 * e + m[5];
}

/// Where the 4x4 outputs of a tile lie in an image.
struct Tile {
  int64_t row, column;  ///< of the first output
};

struct Shape {
  int64_t height, width, channels;
};

/// The 6x6 inputs of a tile, 16 channels at a time -> the 36 rows `points`, `stride` floats apart.
HPM_WIDE void transform_tile(const float* image, const float* zeros, Shape s, Tile tile, int64_t stride,
                             float* points) {
  const float* from[kPoints];
  for (int64_t i = 0; i < kIn; ++i)
    for (int64_t j = 0; j < kIn; ++j) {
      const int64_t row = tile.row + i - 1, column = tile.column + j - 1;
      const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
      from[i * kIn + j] = inside ? image + (row * s.width + column) * s.channels : zeros;
    }
  for (int64_t c = 0; c < s.channels; c += kLanes) {
    Lanes half[kIn][kIn], d[kIn], out[kIn];
    for (int64_t j = 0; j < kIn; ++j) {
      for (int64_t i = 0; i < kIn; ++i) load(from[i * kIn + j] + c, d[i]);
      to_points(d, out);
      for (int64_t i = 0; i < kIn; ++i) half[i][j] = out[i];
    }
    for (int64_t i = 0; i < kIn; ++i) {
      to_points(half[i], out);
      for (int64_t j = 0; j < kIn; ++j) store(out[j], points + (i * kIn + j) * stride + c);
    }
  }
}

/// The 36 rows of products -> up to 4x4 outputs of a tile.
HPM_WIDE void collect_tile(const float* products, int64_t stride, const float* bias, bool relu, Shape s, Tile tile,
                           float* image) {
  const int64_t rows = std::min(kOut, s.height - tile.row), columns = std::min(kOut, s.width - tile.column);
  const Lanes zero{};
  for (int64_t c = 0; c < s.channels; c += kLanes) {
    Lanes half[kOut][kIn], m[kIn], out[kOut], shift;
    load(bias + c, shift);
    for (int64_t j = 0; j < kIn; ++j) {
      for (int64_t i = 0; i < kIn; ++i) load(products + (i * kIn + j) * stride + c, m[i]);
      from_points(m, out);
      for (int64_t i = 0; i < kOut; ++i) half[i][j] = out[i];
    }
    for (int64_t i = 0; i < rows; ++i) {
      from_points(half[i], out);
      for (int64_t j = 0; j < columns; ++j) {
        Lanes v = out[j] + shift;
        if (relu) v = v > zero ? v : zero;
        store(v, image + ((tile.row + i) * s.width + tile.column + j) * s.channels + c);
      }
    }
  }
}

constexpr int64_t kPanel = 2 * kLanes;  // output channels of a panel of U
constexpr int64_t kRows = 8;            // tiles multiplied together: their sums stay in registers

/// p [kRows,C] (rows apart by C) times a panel [C,kPanel] -> q [kRows,kPanel], rows apart by `stride`.
template <int64_t rows>
HPM_INLINE void multiply_rows(const float* p, int64_t channels, const float* panel, float* q, int64_t stride) {
  Lanes low[rows]{}, high[rows]{};
  for (int64_t c = 0; c < channels; ++c) {
    Lanes a, b;
    load(panel + c * kPanel, a), load(panel + c * kPanel + kLanes, b);
    for (int64_t r = 0; r < rows; ++r) {
      const float v = p[r * channels + c];
      low[r] += v * a, high[r] += v * b;
    }
  }
  for (int64_t r = 0; r < rows; ++r) store(low[r], q + r * stride), store(high[r], q + r * stride + kLanes);
}

/// p [T,C] times U [outputs/kPanel,C,kPanel] -> q [T,outputs].
HPM_WIDE void multiply(const float* p, int64_t tiles, int64_t channels, const float* u, int64_t outputs, float* q) {
  for (int64_t o = 0; o < outputs; o += kPanel) {
    const float* panel = u + o * channels;
    int64_t t = 0;
    for (; t + kRows <= tiles; t += kRows)
      multiply_rows<kRows>(p + t * channels, channels, panel, q + t * outputs + o, outputs);
    for (; t < tiles; ++t) multiply_rows<1>(p + t * channels, channels, panel, q + t * outputs + o, outputs);
  }
}

/// Floats from one point's rows to the next: not a multiple of a page, or 36 rows would share a few sets of the cache.
int64_t apart(int64_t size) { return (size + 1023) / 1024 * 1024 + 3 * kLanes; }

/// Tiles that are worked on together: their points and products stay in the cache.
constexpr int64_t kTiles = 64;

}  // namespace

WinogradWeights::WinogradWeights(const Tensor& w) : inputs(w.size(1)), outputs(w.size(0)) {
  TORCH_INTERNAL_ASSERT(w.size(2) == 3 && w.size(3) == 3 && inputs % kLanes == 0 && outputs % kLanes == 0);
  const auto g = at::tensor({1. / 4, 0., 0., -1. / 6, -1. / 6, -1. / 6, -1. / 6, 1. / 6, -1. / 6, 1. / 24, 1. / 12,
                             1. / 6, 1. / 24, -1. / 12, 1. / 6, 0., 0., 1.},
                            at::kDouble)
                     .view({kIn, 3});
  const int64_t panels = (outputs + kPanel - 1) / kPanel;
  u = at::zeros({kPoints, panels, inputs, kPanel}, w.options().dtype(at::kFloat).requires_grad(false));
  for (int64_t p = 0; p < panels; ++p) {  // a panel at a time: all of it in double would take twice the memory of u
    const auto part = w.detach().slice(0, p * kPanel, (p + 1) * kPanel).to(at::kDouble);
    const auto points = g.matmul(part).matmul(g.t());  // [32,C,6,6]
    u.select(1, p).slice(2, 0, part.size(0)).copy_(points.permute({2, 3, 1, 0}).reshape({kPoints, inputs, -1}));
  }
}

Tensor winograd_convolution(const Tensor& x, const WinogradWeights& weights, const Tensor& bias, bool relu) {
  TORCH_INTERNAL_ASSERT(x.is_contiguous(at::MemoryFormat::ChannelsLast) && x.scalar_type() == at::kFloat && x.is_cpu());
  TORCH_INTERNAL_ASSERT(x.size(1) == weights.inputs);
  const int64_t height = x.size(2), width = x.size(3), c = weights.inputs, o = weights.outputs;
  const Shape in{height, width, c}, out{height, width, o};
  const int64_t down = (height + kOut - 1) / kOut, across = (width + kOut - 1) / kOut,
                tiles = x.size(0) * down * across;
  auto y = at::empty({x.size(0), o, height, width}, x.options(), at::MemoryFormat::ChannelsLast);
  const auto shift = bias.defined() ? bias.contiguous() : at::zeros({o}, x.options());
  const std::vector<float> zeros(static_cast<size_t>(c), 0.f);
  const float *from = data(x), *add = data(shift), *u = data(weights.u);
  float* to = y.mutable_data_ptr<float>();
  const int64_t panels = weights.u.size(1) * kPanel, most = std::min(kTiles, tiles);
  const int64_t points_apart = apart(most * c), products_apart = apart(most * panels);
  const auto tile_of = [&](int64_t t) { return Tile{t % (down * across) / across * kOut, t % across * kOut}; };
  const auto image_of = [&](int64_t t, int64_t channels) { return t / (down * across) * height * width * channels; };
  at::parallel_for(0, (tiles + most - 1) / most, 1, [&](int64_t first, int64_t last) {
    auto scratch = at::empty({kPoints * (points_apart + products_apart)}, x.options());
    float *p = scratch.mutable_data_ptr<float>(), *q = p + kPoints * points_apart;
    for (int64_t begin = first * most; begin < std::min(last * most, tiles); begin += most) {
      const int64_t count = std::min(most, tiles - begin);
      for (int64_t t = 0; t < count; ++t)
        transform_tile(from + image_of(begin + t, c), zeros.data(), in, tile_of(begin + t), points_apart, p + t * c);
      for (int64_t i = 0; i < kPoints; ++i)
        multiply(p + i * points_apart, count, c, u + i * c * panels, panels, q + i * products_apart);
      for (int64_t t = 0; t < count; ++t)
        collect_tile(q + t * panels, products_apart, add, relu, out, tile_of(begin + t), to + image_of(begin + t, o));
    }
  });
  return y;
}

}  // namespace hpm
