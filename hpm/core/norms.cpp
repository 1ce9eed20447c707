#include "hpm/core/norms.h"

#include <cmath>

#include "hpm/core/error.h"

namespace hpm {

Norm parse_norm(const std::string& name) {
  std::string lower = name;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "linf") return Norm::linf;
  if (lower == "l2") return Norm::l2;
  if (lower == "l1") return Norm::l1;
  fail_usage("norm: needs Linf, L2 or L1, but got \"{}\"", name);
}

std::string to_string(Norm norm) { return norm == Norm::linf ? "Linf" : norm == Norm::l2 ? "L2" : "L1"; }

Tensor norm_of_rows(const Tensor& delta, Norm norm) {
  const auto flat = delta.flatten(1);
  switch (norm) {
    case Norm::linf: return flat.abs().amax(1);
    case Norm::l2: return (flat * flat).sum(-1).sqrt();
    default: return flat.abs().sum(-1);
  }
}

Tensor per_row(const Tensor& v, const Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[0] = v.size(0);
  return v.view(shape);
}

Tensor project(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat) {
  switch (threat.norm) {
    case Norm::linf: return at::clamp(at::min(at::max(x_adv, x - threat.eps), x + threat.eps), 0., 1.);
    case Norm::l2: {
      const auto delta = x_adv - x;
      const auto norm = per_row(norm_of_rows(delta, Norm::l2), x);
      const auto radius = at::full_like(norm, threat.eps);
      return at::clamp(x + delta / (norm + 1e-12) * at::min(radius, norm), 0., 1.);
    }
    default: {
      const auto delta = x_adv - x;
      return x + delta + project_l1_box(x, delta, threat.eps);
    }
  }
}

double allowed_norm(const ThreatModel& threat, int64_t dims) {
  const double p = threat.norm == Norm::linf ? 0. : threat.norm == Norm::l2 ? .5 : 1.;
  return threat.eps * (1 + 1e-6) + 1e-7 * std::pow(static_cast<double>(dims), p);
}

Tensor inside(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat) {
  const auto norm = norm_of_rows(x_adv.to(at::kDouble) - x.to(at::kDouble), threat.norm);
  const auto flat = x_adv.flatten(1);
  return norm.le(allowed_norm(threat, flat.size(1))) & flat.amin(1).ge(0) & flat.amax(1).le(1);
}

Tensor shrink_into(const Tensor& x_adv, const Tensor& x, const ThreatModel& threat) {
  const auto delta = x_adv - x;
  const auto norm = norm_of_rows(delta.to(at::kDouble), threat.norm);
  const auto scale = (threat.eps / norm).clamp_max(1.).to(x.scalar_type());  // 0/0 = NaN: no perturbation
  return (x + delta * per_row(scale.nan_to_num(1.), x)).clamp(0., 1.);
}

Tensor project_l1_box(const Tensor& x_in, const Tensor& y_in, double eps) {
  const auto x = x_in.flatten(1), y = y_in.flatten(1);
  const int64_t dims = x.size(1);
  const auto sign = y.sign();
  // -u >= 0: by how much a coordinate overshoots the box. -l = |y|: the most that it can shrink.
  auto u = at::min(1 - x - y, x + y);
  u = at::min(at::zeros_like(y), u);
  const auto l = -y.abs();
  auto d = u.clone();

  const auto [sorted, order] = at::sort(-at::cat({u, l}, 1), 1);
  const auto next = at::cat({sorted.slice(1, 1), at::zeros_like(sorted.slice(1, 0, 1))}, 1);
  const auto slope = ((order < dims).to(x.scalar_type()) * 2 - 1).cumsum(1);
  const auto s0 = -u.sum(1);
  const auto cumulative = s0.unsqueeze(1) + ((next - sorted) * slope).cumsum(1);

  const auto c = eps - y.abs().sum(1);
  const auto outside = s0 + c < 0;
  // On a GPU every row is projected: asking which rows need it would wait for the device.
  const auto rows = !x.is_cpu() ? at::arange(x.size(0), x.options().dtype(at::kLong)) : outside.nonzero().squeeze(1);
  if (rows.numel() == 0) return (sign * d).view(x_in.sizes());

  const auto c_rows = c.index_select(0, rows);
  const auto cumulative_rows = cumulative.index_select(0, rows);
  auto low = at::zeros({rows.size(0)}, x.options());
  auto high = at::full_like(low, 2. * static_cast<double>(dims) - 1);
  const auto rounds = static_cast<int64_t>(std::ceil(std::log2(2. * static_cast<double>(dims))));
  for (int64_t i = 0; i < rounds; ++i) {
    const auto middle = at::floor((low + high) / 2.0);
    const auto value = cumulative_rows.gather(1, middle.to(at::kLong).unsqueeze(1)).squeeze(1);
    const auto below = value + c_rows < 0;
    low = at::where(below, middle, low);
    high = at::where(below, high, middle);
  }
  const auto at_low = low.to(at::kLong).unsqueeze(1);
  const auto pick = [&](const Tensor& t, const Tensor& at_index) {
    return t.index_select(0, rows).gather(1, at_index).squeeze(1);
  };
  const auto alpha = (-pick(cumulative, at_low) - c_rows) / pick(slope, at_low + 1) + pick(next, at_low);
  const auto shrunk = -at::min(at::max(-u.index_select(0, rows), alpha.unsqueeze(1)), -l.index_select(0, rows));
  if (!x.is_cpu()) d = at::where(outside.unsqueeze(1), shrunk, d);
  else d.index_copy_(0, rows, shrunk);
  return (sign * d).view(x_in.sizes());
}

Tensor random_start(const Tensor& x, const Tensor& noise, const ThreatModel& threat) {
  switch (threat.norm) {
    case Norm::linf:
    case Norm::l2: {
      const auto length = per_row(norm_of_rows(noise, threat.norm), x);
      return at::clamp(x + threat.eps * at::ones_like(x) * (noise / (length + 1e-12)), 0., 1.);
    }
    default: return x + noise + project_l1_box(x, noise, threat.eps);
  }
}

}  // namespace hpm
