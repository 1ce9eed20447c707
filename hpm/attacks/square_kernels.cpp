#include "hpm/attacks/square_kernels_impl.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "hpm/core/cpu_lanes_impl.h"

namespace hpm {
namespace {

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

}  // namespace

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

}  // namespace hpm
