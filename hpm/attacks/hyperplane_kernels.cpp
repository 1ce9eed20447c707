#include "hpm/attacks/hyperplane_kernels_impl.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <numeric>

#include "hpm/core/cpu_lanes_impl.h"

namespace hpm {
namespace {

enum class Kind { linf, l2, l1 };
Kind kind_of(Norm norm) { return norm == Norm::linf ? Kind::linf : norm == Norm::l2 ? Kind::l2 : Kind::l1; }

HPM_WIDE double dot(const float* a, const float* b, int64_t n) {  // n in whole lanes
  Lanes sum{};
  for (int64_t i = 0; i < n; i += kLanes) {
    Lanes u, v;
    load(a + i, u), load(b + i, v);
    sum += u * v;
  }
  return total(sum);
}

/// What each coordinate gains per unit of the common step (g) and the step at which it reaches the box (q), for a move
/// against `turn` w. Linf: g = |w|, q = room; L2: g = w^2, q = room / |w|; L1: g = |w| room, q unused. 0 where w is.
HPM_WIDE void gains(const float* t, const float* w, float turn, Kind kind, int64_t n, float* g, float* q) {
  const float least = kind == Kind::linf ? 0.f : 1e-8f;
  for (int64_t i = 0; i < n; i += kLanes) {
    Lanes ti, wi;
    load(t + i, ti), load(w + i, wi);
    const Lanes v = wi * turn, zero{};
    const Lanes size = v < 0.f ? -v : v;
    const Lanes room = v < 0.f ? 1.f - ti : ti;
    const Mask moves = size > least;
    const Lanes gain = kind == Kind::linf ? size : kind == Kind::l2 ? v * v : size * room;
    const Lanes reach = kind == Kind::l2 ? room / size : room;
    store(moves ? gain : zero, g + i);
    store(moves ? reach : zero, q + i);
  }
}

/// base = the sum of g q over q <= t, slope = the sum of g over q > t.
HPM_WIDE void split_sums(const float* g, const float* q, int64_t n, float t, double& base, double& slope) {
  Lanes bases{}, slopes{};
  for (int64_t i = 0; i < n; i += kLanes) {
    Lanes gi, qi;
    load(g + i, gi), load(q + i, qi);
    const Mask beyond = qi > t;
    const Lanes zero{};
    slopes += beyond ? gi : zero;
    bases += beyond ? zero : gi * qi;
  }
  base = total(bases), slope = total(slopes);
}

/// The t >= 0 with sum_i g_i min(t, q_i) = c, or infinity. Tangents lie above a concave function, so Newton's steps
/// from the left of the root stay there and end after finitely many.
float common_step(const float* g, const float* q, int64_t n, double c) {
  float t = 0;
  for (int64_t round = 0; round < n; ++round) {
    double base, slope;
    split_sums(g, q, n, t, base, slope);
    if (slope <= 0) return base >= c ? t : std::numeric_limits<float>::infinity();
    const auto next = static_cast<float>((c - base) / slope);
    if (!(next > t)) return t;
    t = next;
  }
  return t;
}

/// d = the move of common length t against `turn` w, clipped at the box; its norm.
HPM_WIDE double clipped_move(const float* w, const float* g, const float* q, float turn, float t, Kind kind, int64_t n,
                             float* d) {
  Lanes largest{}, squares{};
  for (int64_t i = 0; i < n; i += kLanes) {
    Lanes wi, gi, qi;
    load(w + i, wi), load(g + i, gi), load(q + i, qi);
    const Lanes v = wi * turn, zero{};
    const Lanes size = v < 0.f ? -v : v;
    const Lanes step = (qi < t ? qi : zero + t) * (kind == Kind::l2 ? size : zero + 1.f);
    const Lanes move = gi == 0.f ? zero : (v < 0.f ? step : -step);
    store(move, d + i);
    const Lanes length = move < 0.f ? -move : move;
    largest = length > largest ? length : largest;
    squares += move * move;
  }
  if (kind == Kind::l2) return std::sqrt(total(squares));
  float out = 0;
  for (int i = 0; i < kLanes; ++i) out = std::max(out, largest[i]);
  return static_cast<double>(out);
}

/// L1: the coordinates with the largest |w| move to their corners until c is gained, the last of them only as far as
/// needed. `order` is scratch. The largest are found by halving: what is certainly in or certainly out is not looked at
/// again.
double sparse_move(const float* t, const float* w, const float* g, float turn, double c, int64_t dims,
                   std::vector<int32_t>& order, float* d) {
  order.resize(static_cast<size_t>(dims));
  std::iota(order.begin(), order.end(), 0);
  // NaN comes last: std::nth_element needs an order of everything that it meets.
  const auto larger = [&](int32_t a, int32_t b) {
    return std::abs(w[a]) > std::abs(w[b]) || (std::isnan(w[b]) && !std::isnan(w[a]));
  };
  auto first = order.begin(), last = order.end();
  double missing = c;
  while (last - first > 1) {
    const auto middle = first + (last - first) / 2;
    std::nth_element(first, middle, last, larger);
    double half = 0;
    for (auto i = first; i != middle; ++i) half += static_cast<double>(g[*i]);
    if (half < missing) missing -= half, first = middle;
    else last = middle;
  }
  std::fill(d, d + dims, 0.f);
  double length = 0;
  const auto corner = [&](int32_t i) { return g[i] == 0 ? 0.f : w[i] * turn < 0 ? 1.f - t[i] : -t[i]; };
  for (auto i = order.begin(); i != first; ++i) d[*i] = corner(*i), length += static_cast<double>(std::abs(d[*i]));
  if (first != order.end()) {
    const auto share = g[*first] > 0 ? std::min(missing / static_cast<double>(g[*first]), 1.) : 0.;
    d[*first] = static_cast<float>(share * static_cast<double>(corner(*first)));
    length += static_cast<double>(std::abs(d[*first]));
  }
  return length;
}

/// A projection's scratch: every buffer padded to whole lanes.
struct Scratch {
  std::vector<float> t, g, q, d;
  std::vector<int32_t> order;
  explicit Scratch(int64_t dims) : t(row_buffer(dims)), g(row_buffer(dims)), q(row_buffer(dims)), d(row_buffer(dims)) {}
};

/// The shortest move d (in s.d) from t onto {v : <w, v> = b} inside the box, or as far as the box allows; its norm.
/// w is padded to n = padded(dims) numbers, and so is what comes out.
double project_row(const float* t, const float* w, double b, Kind kind, int64_t dims, int64_t n, Scratch& s) {
  std::memcpy(s.t.data(), t, static_cast<size_t>(dims) * sizeof(float));
  const double c = dot(s.t.data(), w, n) - b;
  const float turn = c >= 0 ? 1.f : -1.f;
  gains(s.t.data(), w, turn, kind, n, s.g.data(), s.q.data());
  if (kind == Kind::l1) return sparse_move(t, w, s.g.data(), turn, std::abs(c), dims, s.order, s.d.data());
  const float step = common_step(s.g.data(), s.q.data(), n, std::abs(c));
  return clipped_move(w, s.g.data(), s.q.data(), turn, step, kind, n, s.d.data());
}

HPM_WIDE void blend_row(const float* x, const float* x0, const float* d, const float* d0, float eta, float alpha,
                        int64_t dims, float* out) {
  for (int64_t i = 0; i < dims; ++i) {
    const float v = (x[i] + eta * d[i]) * (1.f - alpha) + (x0[i] + eta * d0[i]) * alpha;
    out[i] = std::min(std::max(v, 0.f), 1.f);
  }
}

}  // namespace

Tensor project_without_sort(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm) {
  auto moves = at::empty_like(points);
  const int64_t rows = points.size(0), dims = points.size(1), n = padded(dims);
  const auto offsets = b.to(at::kDouble).contiguous();
  const float *tp = data(points), *wp = data(w);
  const double* bp = offsets.const_data_ptr<double>();
  float* out = moves.data_ptr<float>();
  at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    Scratch scratch(dims);
    auto normal = row_buffer(dims);
    const auto bytes = static_cast<size_t>(dims) * sizeof(float);
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(normal.data(), wp + i * dims, bytes);
      project_row(tp + i * dims, normal.data(), bp[i], kind_of(norm), dims, n, scratch);
      std::memcpy(out + i * dims, scratch.d.data(), bytes);
    }
  });
  return moves;
}

Tensor boundary_step_without_sort(const Tensor& x, const Tensor& x0, const Tensor& w, const Tensor& b, Norm norm,
                                  double eta, double alpha_max) {
  auto next = at::empty_like(x);
  const int64_t rows = x.size(0), dims = x.size(1), n = padded(dims);
  const auto kind = kind_of(norm);
  const auto offsets = b.to(at::kDouble).contiguous();
  const float *xp = data(x), *x0p = data(x0), *wp = data(w);
  const double* bp = offsets.const_data_ptr<double>();
  float* out = next.data_ptr<float>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    Scratch here(dims), there(dims);
    auto normal = row_buffer(dims);
    for (int64_t i = begin; i < end; ++i) {
      const auto at = i * dims;
      std::memcpy(normal.data(), wp + at, static_cast<size_t>(dims) * sizeof(float));
      const double d = std::max(project_row(xp + at, normal.data(), bp[i], kind, dims, n, here), 1e-8);
      const double d0 = std::max(project_row(x0p + at, normal.data(), bp[i], kind, dims, n, there), 1e-8);
      const double alpha = std::min(std::max(d / (d + d0), 0.), alpha_max);
      blend_row(xp + at, x0p + at, here.d.data(), there.d.data(), static_cast<float>(eta), static_cast<float>(alpha),
                dims, out + at);
    }
  });
  return next;
}

}  // namespace hpm
