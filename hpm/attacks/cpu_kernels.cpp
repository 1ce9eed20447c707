#include "hpm/attacks/cpu_kernels_impl.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "hpm/core/cpu_lanes_impl.h"

namespace hpm {
namespace {

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

Tensor order_statistic(const Tensor& values, const Tensor& place) {
  const int64_t rows = values.size(0), dims = values.size(1);
  auto out = at::empty({rows}, values.options());
  const float* vp = data(values);
  const int64_t* pp = place.const_data_ptr<int64_t>();
  float* result = out.data_ptr<float>();
  // NaN is above all numbers, as Tensor::sort has it: std::nth_element needs an order of everything that it meets.
  const auto below = [](float a, float b) { return a < b || (std::isnan(b) && !std::isnan(a)); };
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(dims));
    for (int64_t i = begin; i < end; ++i) {
      std::copy_n(vp + i * dims, dims, row.begin());
      std::nth_element(row.begin(), row.begin() + pp[i], row.end(), below);
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
