#include "hpm/attacks/cpu_kernels_impl.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace hpm {
namespace {

// Sixteen floats at once: one AVX-512 register, two of AVX2, four of SSE. Functions marked HPM_WIDE are compiled for
// each, and the widest that the machine has is chosen when the program starts.
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

int64_t padded(int64_t dims) { return (dims + kLanes - 1) / kLanes * kLanes; }

/// Room for a row, padded with zeros to whole lanes.
std::vector<float> row_buffer(int64_t dims) { return std::vector<float>(static_cast<size_t>(padded(dims)), 0.f); }

// ---- APGD
// ----------------------------------------------------------------------------------------------------------------

struct MomentumStep {
  float eps, momentum, rest;
};

HPM_WIDE void linf_row(const float* x, const float* x_adv, const float* x_old, const float* gradient, float step,
                       MomentumStep s, int64_t dims, float* next) {
  for (int64_t i = 0; i < dims; ++i) {
    const float xi = x[i], at = x_adv[i], g = gradient[i];
    const float low = std::max(xi - s.eps, 0.f), high = std::min(xi + s.eps, 1.f);
    const float sign = static_cast<float>(g > 0) - static_cast<float>(g < 0);
    const float z = std::min(std::max(at + step * sign, low), high);
    const float v = (at + (z - at) * s.momentum) + (at - x_old[i]) * s.rest;
    next[i] = std::min(std::max(v, low), high);
  }
}

// ---- the boundary of FAB
// -------------------------------------------------------------------------------------------------

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
  const auto larger = [&](int32_t a, int32_t b) { return std::abs(w[a]) > std::abs(w[b]); };
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

// ---- Square
// ---------------------------------------------------------------------------------------------------------------

struct Plane {
  int64_t channels, height, width, side;
};

HPM_WIDE double difference(const float* a, const float* b, bool euclidean, int64_t dims, float* d) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= dims; i += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) {
      const float v = a[i + j] - b[i + j];
      d[i + j] = v;
      sums[j] += euclidean ? v * v : std::abs(v);
    }
  for (; i < dims; ++i) d[i] = a[i] - b[i], sums[0] += euclidean ? d[i] * d[i] : std::abs(d[i]);
  double total = 0;
  for (float s : sums) total += static_cast<double>(s);
  return euclidean ? std::sqrt(total) : total;
}

/// The sum of |d|^p over a window of one channel, cut to rows [r, r_end) and columns [c, c_end).
double window_sum(const float* d, const Plane& p, bool euclidean, int64_t r, int64_t r_end, int64_t c, int64_t c_end) {
  double sum = 0;
  for (; r < r_end; ++r)
    for (int64_t j = c; j < c_end; ++j) {
      const auto v = static_cast<double>(d[r * p.width + j]);
      sum += euclidean ? v * v : std::abs(v);
    }
  return sum;
}

void move_mass_row(float* d, const Plane& p, const int64_t* one, const int64_t* two, const float* eta, bool turned,
                   const float* signs, double used, double eps, bool euclidean, std::vector<double>& mass) {
  const int64_t s = p.side, r = std::max(one[0], two[0]), r_end = std::min(one[0], two[0]) + s,
                c = std::max(one[1], two[1]), c_end = std::min(one[1], two[1]) + s;
  mass.resize(static_cast<size_t>(p.channels * s * s));
  const auto norm = [&](double sum) { return euclidean ? std::sqrt(std::max(sum, 0.)) : std::max(sum, 0.); };
  const auto channels = static_cast<double>(p.channels);
  for (int64_t k = 0; k < p.channels; ++k) {
    const float* plane = d + k * p.height * p.width;
    const double first = window_sum(plane, p, euclidean, one[0], one[0] + s, one[1], one[1] + s);
    const double second = window_sum(plane, p, euclidean, two[0], two[0] + s, two[1], two[1] + s);
    const double both = norm(first + second - window_sum(plane, p, euclidean, r, r_end, c, c_end));
    double* out = mass.data() + k * s * s;
    double sum = 0;
    for (int64_t i = 0; i < s; ++i)
      for (int64_t j = 0; j < s; ++j) {
        const double bump =
            static_cast<double>(signs[k]) * static_cast<double>(turned ? eta[j * s + i] : eta[i * s + j]);
        const double v = bump + static_cast<double>(plane[(one[0] + i) * p.width + one[1] + j]) / (1e-12 + norm(first));
        out[i * s + j] = v;
        sum += euclidean ? v * v : std::abs(v);
      }
    const double length = euclidean ? std::sqrt(std::max(eps * eps - used * used, 0.) / channels + both * both)
                                    : (std::max(eps - used, 0.) / channels + both) * channels;
    const double scale = length / (1e-12 + norm(sum));
    for (int64_t i = 0; i < s * s; ++i) out[i] *= scale;
  }
  for (int64_t k = 0; k < p.channels; ++k) {
    float* plane = d + k * p.height * p.width;
    for (int64_t i = 0; i < s; ++i) std::fill_n(plane + (two[0] + i) * p.width + two[1], s, 0.f);
    for (int64_t i = 0; i < s; ++i)
      for (int64_t j = 0; j < s; ++j)
        plane[(one[0] + i) * p.width + one[1] + j] = static_cast<float>(mass[static_cast<size_t>((k * s + i) * s + j)]);
  }
}

HPM_WIDE void scaled_row(const float* x, const float* d, float scale, int64_t dims, float* out) {
  for (int64_t i = 0; i < dims; ++i) out[i] = std::min(std::max(x[i] + d[i] * scale, 0.f), 1.f);
}

HPM_WIDE double length_of(const float* d, int64_t dims) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= dims; i += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) sums[j] += d[i + j] * d[i + j];
  for (; i < dims; ++i) sums[0] += d[i] * d[i];
  double sum = 0;
  for (float s : sums) sum += static_cast<double>(s);
  return std::sqrt(sum);
}

// ---- the L1 ball in the box
// ----------------------------------------------------------------------------------------------

/// The L1 norm left after shrinking |y| by `by` (not below 0, not above the room to the box).
HPM_WIDE double norm_after(const float* size, const float* room, int64_t n, float by) {
  Lanes sum{};
  for (int64_t i = 0; i < n; i += kLanes) {
    Lanes s, r;
    load(size + i, s), load(room + i, r);
    const Lanes zero{}, left = s - by;
    const Lanes positive = left > 0.f ? left : zero;
    sum += positive < r ? positive : r;
  }
  return total(sum);
}

void l1_row(const float* x, const float* y, double eps, int64_t dims, int64_t n, std::vector<float>& size,
            std::vector<float>& room, float* out) {
  float largest = 0;
  for (int64_t i = 0; i < dims; ++i) {
    const auto k = static_cast<size_t>(i);
    size[k] = std::abs(y[i]), room[k] = y[i] > 0 ? 1.f - x[i] : x[i];
    largest = std::max(largest, size[k]);
  }
  float low = 0, high = largest;  // norm_after(low) > eps >= norm_after(high)
  if (norm_after(size.data(), room.data(), n, 0) <= eps) high = 0;
  while (high > low) {
    const float middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (norm_after(size.data(), room.data(), n, middle) > eps ? low : high) = middle;
  }
  for (int64_t i = 0; i < dims; ++i) {
    const auto k = static_cast<size_t>(i);
    const float length = std::min(std::max(size[k] - high, 0.f), room[k]);
    out[i] = std::min(std::max(x[i] + std::copysign(length, y[i]), 0.f), 1.f);
  }
}

const float* data(const Tensor& t) { return t.const_data_ptr<float>(); }

}  // namespace

bool runs_on_kernels(std::initializer_list<Tensor> tensors) {
  for (const auto& t : tensors)
    if (t.defined() && !(t.is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous())) return false;
  return true;
}

Tensor linf_momentum_step(const Tensor& x, const Tensor& x_adv, const Tensor& x_old, const Tensor& gradient,
                          const Tensor& step, double momentum, double eps) {
  auto next = at::empty_like(x);
  const int64_t rows = x.size(0), dims = rows ? x.numel() / rows : 0;
  const MomentumStep s{static_cast<float>(eps), static_cast<float>(momentum), static_cast<float>(1 - momentum)};
  const float *xp = data(x), *ap = data(x_adv), *op = data(x_old), *gp = data(gradient), *sp = data(step);
  float* out = next.data_ptr<float>();
  at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto at = i * dims;
      linf_row(xp + at, ap + at, op + at, gp + at, sp[i], s, dims, out + at);
    }
  });
  return next;
}

void copy_rows_where(const Tensor& flags, const Tensor& from, const Tensor& to) {
  const int64_t rows = from.size(0), bytes = rows ? from.numel() / rows * from.element_size() : 0;
  const bool* on = flags.const_data_ptr<bool>();
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* target = static_cast<std::byte*>(to.data_ptr());
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (on[i]) std::memcpy(target + i * bytes, source + i * bytes, static_cast<size_t>(bytes));
  });
}

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

Tensor moved_mass(const Tensor& x, const Tensor& best, const MassMove& move, double eps, bool euclidean) {
  auto delta = at::empty_like(x);
  const int64_t rows = x.size(0);
  const Plane plane{x.size(1), x.size(2), x.size(3), move.eta.size(0)};
  const int64_t dims = plane.channels * plane.height * plane.width;
  const auto corner = move.corner.contiguous(), corner_two = move.corner_two.contiguous(), eta = move.eta.contiguous(),
             turned = move.turned.contiguous(), signs = move.signs.contiguous();
  const float *xp = data(x), *bp = data(best), *ep = data(eta), *sp = data(signs);
  const int64_t *one = corner.const_data_ptr<int64_t>(), *two = corner_two.const_data_ptr<int64_t>();
  const bool* tp = turned.const_data_ptr<bool>();
  float* out = delta.data_ptr<float>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    std::vector<double> mass;
    for (int64_t i = begin; i < end; ++i) {
      const double used = difference(bp + i * dims, xp + i * dims, euclidean, dims, out + i * dims);
      move_mass_row(out + i * dims, plane, one + 2 * i, two + 2 * i, ep, tp[i], sp + i * plane.channels, used, eps,
                    euclidean, mass);
    }
  });
  return delta;
}

Tensor onto_l2_sphere_in_box(const Tensor& x, const Tensor& delta, double eps) {
  auto next = at::empty_like(x);
  const int64_t rows = x.size(0), dims = rows ? x.numel() / rows : 0;
  const float *xp = data(x), *dp = data(delta);
  float* out = next.data_ptr<float>();
  at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto scale = static_cast<float>(eps / (length_of(dp + i * dims, dims) + 1e-12));
      scaled_row(xp + i * dims, dp + i * dims, scale, dims, out + i * dims);
    }
  });
  return next;
}

Tensor order_statistic(const Tensor& values, const Tensor& place) {
  const int64_t rows = values.size(0), dims = values.size(1);
  auto out = at::empty({rows}, values.options());
  const float* vp = data(values);
  const int64_t* pp = place.const_data_ptr<int64_t>();
  float* result = out.data_ptr<float>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(dims));
    for (int64_t i = begin; i < end; ++i) {
      std::copy_n(vp + i * dims, dims, row.begin());
      std::nth_element(row.begin(), row.begin() + pp[i], row.end());
      result[i] = row[static_cast<size_t>(pp[i])];
    }
  });
  return out;
}

Tensor l1_ball_in_box(const Tensor& x, const Tensor& y, double eps) {
  auto next = at::empty_like(x);
  const int64_t rows = x.size(0), dims = rows ? x.numel() / rows : 0, n = padded(dims);
  const float *xp = data(x), *yp = data(y);
  float* out = next.data_ptr<float>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    auto size = row_buffer(dims), room = row_buffer(dims);
    for (int64_t i = begin; i < end; ++i)
      l1_row(xp + i * dims, yp + i * dims, eps, dims, n, size, room, out + i * dims);
  });
  return next;
}

}  // namespace hpm
