#include "hpm/attacks/hyperplane.h"

#include <cmath>

#include "hpm/attacks/cpu_kernels_impl.h"
#include "hpm/attacks/hyperplane_kernels_impl.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

// t, w [M,D]; c = <w, t> - b [M], made >= 0 by turning w. To reach the hyperplane a coordinate moves against w: down to
// 0 where w > 0, up to 1 where w < 0.

struct Oriented {
  Tensor w, c;
};

Oriented orient(const Tensor& t, const Tensor& w, const Tensor& b) {
  const auto c = (w * t).sum(1) - b;
  const auto sign = c.ge(0).to(w.scalar_type()) * 2 - 1;
  return {w * sign.unsqueeze(1), c * sign};
}

Tensor at_column(const Tensor& v, const Tensor& column) { return v.gather(1, column.unsqueeze(1)).squeeze(1); }

/// The largest place in [0, upper) for which `right_of` holds, by `rounds` halvings. Places are counted in `like`'s
/// type.
template <class Predicate>
Tensor bisect(const Tensor& like, double upper, int64_t dims, Predicate right_of) {
  auto low = at::zeros({like.size(0)}, like.options());
  auto high = at::full_like(low, upper);
  const auto rounds = static_cast<int64_t>(std::ceil(std::log2(static_cast<double>(dims))));
  for (int64_t i = 0; i < rounds; ++i) {
    const auto middle = at::floor((low + high) / 2);
    const auto right = right_of(middle.to(at::kLong));
    low = at::where(right, middle, low);
    high = at::where(right, high, middle);
  }
  return low.to(at::kLong);
}

/// The full move to the corner: -t where w > 0, 1 - t where w < 0, 0 where w = 0.
Tensor to_corner(const Tensor& t, const Tensor& w) { return (w.lt(0).to(t.scalar_type()) - t) * w.ne(0); }

Tensor sorted_linf(const Tensor& t, const Tensor& w_in, const Tensor& b_in) {
  const auto turn = ((w_in * t).sum(1) - b_in).ge(0).to(t.scalar_type()) * 2 - 1;
  const auto w = w_in * turn.unsqueeze(1);
  const int64_t dims = t.size(1);
  const auto up = w.lt(0);
  const auto corner = to_corner(t, w);
  const auto room = at::where(up, 1 - t, t);
  const auto order = at::argsort(room, int64_t{1});
  const auto descending = order.flip(1);

  const auto r = b_in * turn - (w * t).sum(1);
  const auto b0 = (w * corner).sum(1);
  const auto w_sorted = w.gather(1, descending);
  const auto slope = w_sorted.abs().cumsum(1);
  const auto offset = (-w_sorted * corner.gather(1, descending)).cumsum(1) + b0.unsqueeze(1);

  const auto last_offset = offset.select(1, -1), last_slope = slope.select(1, -1);
  const auto nobody_clipped = r - (last_offset - last_slope * at_column(room, order.select(1, 0))) > 0;
  const auto some_clipped = (r - b0 > 0) & nobody_clipped.logical_not();
  const auto place = bisect(t, static_cast<double>(dims - 1), dims, [&](const Tensor& middle) {
    const auto edge = at_column(room, at_column(order, dims - 1 - middle));
    return r - (at_column(offset, middle) - at_column(slope, middle) * edge) > 0;
  });
  const auto all = ((r - last_offset) / -last_slope).clamp_min(0).unsqueeze(1);
  const auto some = ((r - at_column(offset, place)) / -at_column(slope, place)).clamp_min(0).unsqueeze(1);
  const auto clipped = at::where(up, at::min(some, corner), at::max(-some, corner));
  const auto move = at::where(nobody_clipped.unsqueeze(1), at::where(up, all, -all), clipped);
  return at::where((nobody_clipped | some_clipped).unsqueeze(1), move, corner) * w.ne(0);
}

Tensor sorted_l2(const Tensor& t, const Tensor& w_in, const Tensor& b) {
  const auto [w, c] = orient(t, w_in, b);
  const auto never = w.abs().lt(1e-8);
  auto limit = at::max(t / w, (t - 1) / w).clamp(-1e12, 1e12).masked_fill(never, 1e12);
  limit = at::where(limit.eq(-1e12), -limit, limit);
  auto [now, order] = limit.sort(1);
  auto next = at::cat({now.slice(1, 1), at::zeros_like(now.slice(1, 0, 1))}, 1);
  now = now.masked_fill(now.eq(1e12), 0);
  next = next.masked_fill(next.eq(1e12), 0);

  const auto squares = (w * w).gather(1, order);
  const auto total = squares.sum(1, true);
  const auto rest = total - squares.cumsum(1);
  const auto full = -(limit * w) * w.abs().gt(1e-8);
  const auto first = -total * now.slice(1, 0, 1);
  const auto reached = at::cat({first, ((now - next) * rest).cumsum(1) + first}, 1);

  const auto nobody_clipped = reached.select(1, 0) + c < 0;
  const auto out_of_reach = (full * w).sum(1) + c > 0;
  const auto place = bisect(t, static_cast<double>(t.size(1) - 1), t.size(1),
                            [&](const Tensor& middle) { return at_column(reached, middle) + c > 0; });
  const auto rest_here = at_column(rest, place);
  auto alpha = (at_column(reached, place) + c) / rest_here + at_column(now, place);
  alpha = alpha.masked_fill(rest_here.eq(0), 0).unsqueeze(1);
  const auto some = at::where(alpha > limit, full, -alpha * w);
  const auto all = -(c / total.squeeze(1)).unsqueeze(1) * w;
  const auto move = at::where(nobody_clipped.unsqueeze(1), all, at::where(out_of_reach.unsqueeze(1), full, some));
  return move * w.abs().gt(1e-8);
}

/// L1: the coordinates with the largest |w| move to their corners, the last of them only as far as needed.
Tensor sorted_l1(const Tensor& t, const Tensor& w_in, const Tensor& b) {
  const auto [w, c] = orient(t, w_in, b);
  const int64_t dims = t.size(1);
  const auto order = at::argsort((1 / w).abs().clamp_max(1e12), int64_t{1});
  const auto rank = at::argsort(order, int64_t{1});
  const auto gains = at::min(-w * t, w * (1 - t)).gather(1, order);
  const auto left = at::cat({c.unsqueeze(1), gains}, 1).cumsum(1);
  const auto reachable = left.select(1, -1) < 0;
  auto place =
      bisect(t, static_cast<double>(dims + 1), dims, [&](const Tensor& middle) { return at_column(left, middle) > 0; });
  place = place.clamp_max(dims - 1);  // of rows that cannot be reached, and discarded
  const auto coordinate = at_column(order, place);
  const auto corner = to_corner(t, w);
  const auto last = (-at_column(left, place) / at_column(w, coordinate)).unsqueeze(1);
  const auto some = (corner * rank.lt(place.unsqueeze(1))).scatter(1, coordinate.unsqueeze(1), last);
  return at::where(reachable.unsqueeze(1), some, corner) * w.abs().gt(1e-8);
}

}  // namespace

Tensor project_hyperplane_sorted(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm) {
  switch (norm) {
    case Norm::linf: return sorted_linf(points, w, b);
    case Norm::l2: return sorted_l2(points, w, b);
    default: return sorted_l1(points, w, b);
  }
}

Tensor project_hyperplane(const Tensor& points, const Tensor& w, const Tensor& b, Norm norm) {
  require(points.dim() == 2 && w.sizes() == points.sizes() && b.dim() == 1 && b.size(0) == points.size(0),
          "project_hyperplane: needs points and normals [M,D] and offsets [M], but got [{}], [{}] and [{}]",
          fmt::join(points.sizes(), ","), fmt::join(w.sizes(), ","), fmt::join(b.sizes(), ","));
  return runs_on_kernels({points, w}) ? project_without_sort(points, w, b, norm)
                                      : project_hyperplane_sorted(points, w, b, norm);
}

Tensor boundary_step(const Tensor& x, const Tensor& x0, const Tensor& w, const Tensor& b, Norm norm,
                     const BoundaryStep& step) {
  const int64_t m = x.size(0);
  const auto points = x.reshape({m, -1}), originals = x0.reshape({m, -1});
  if (!step.sorted && runs_on_kernels({points, originals, w}))
    return boundary_step_without_sort(points, originals, w, b, norm, step.eta, step.alpha_max).view(x.sizes());
  const auto d = project_hyperplane_sorted(at::cat({points, originals}), at::cat({w, w}), at::cat({b, b}), norm);
  const auto length = norm_of_rows(d, norm).clamp_min(1e-8);
  const auto l1 = length.slice(0, 0, m), l2 = length.slice(0, m);
  const auto alpha = per_row((l1 / (l1 + l2)).clamp(0., step.alpha_max), x);
  const auto d1 = d.slice(0, 0, m).view(x.sizes()), d2 = d.slice(0, m).view(x.sizes());
  return ((x + step.eta * d1) * (1 - alpha) + (x0 + d2 * step.eta) * alpha).clamp(0., 1.);
}

}  // namespace hpm
