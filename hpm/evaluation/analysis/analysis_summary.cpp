#include "hpm/evaluation/analysis/analysis_summary.h"

namespace hpm {

Quantiles quantiles(const Tensor& values) {
  const auto all = values.to(at::kCPU, at::kDouble).flatten();
  const auto finite = std::get<0>(all.index({all.isfinite()}).sort());
  const int64_t n = finite.numel();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (n == 0) return {nan, nan, nan, nan, nan, nan, nan};
  const double* sorted = finite.data_ptr<double>();
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(n - 1);
    const auto low = static_cast<int64_t>(place), high = std::min(low + 1, n - 1);
    return sorted[low] + (place - static_cast<double>(low)) * (sorted[high] - sorted[low]);
  };
  return {finite.mean().item<double>(), at(.05), at(.25), at(.5), at(.75), at(.95), sorted[n - 1]};
}

std::vector<int64_t> failure_patterns(const Tensor& wrong) {
  std::vector<int64_t> counts(size_t{1} << wrong.size(0), 0);
  const auto bits = at::pow(2, at::arange(wrong.size(0))).to(at::kLong).unsqueeze(1);
  const auto patterns = (wrong.to(at::kCPU, at::kLong) * bits).sum(0).contiguous();
  for (int64_t i = 0; i < patterns.numel(); ++i) ++counts[static_cast<size_t>(patterns.data_ptr<int64_t>()[i])];
  return counts;
}

Tensor common_images(const Analysis& a) {
  auto common = a.heads.front().clean_correct;
  for (const auto& head : a.heads) common = common & head.clean_correct;
  return common;
}

Tensor transfer_matrix(const Analysis& a) {
  const auto common = common_images(a);
  std::vector<Tensor> rows;
  for (const auto& h : a.heads)
    rows.push_back(100 * h.transferred.index({at::indexing::Slice(), common}).to(at::kDouble).mean(1));
  return at::stack(rows);
}

std::vector<std::pair<std::string, Tensor>> measures(const HeadAnalysis& h) {
  const auto change = h.distance - h.attacked_distance;
  return {{"distance", h.distance},
          {"attacked_distance", h.attacked_distance},
          {"change", change},
          {"local_slope", h.local_slope},
          {"model_slope", change / h.input_change},
          {"feature_gain", h.feature_change / h.input_change},
          {"head_slope", change / h.feature_change}};
}

Tensor distance_grid(const Analysis& a) {
  double last = 0;
  for (const auto& head : a.heads)
    if (const double p = quantiles(head.distance.index({head.distance > 0})).p95; p > last) last = p;
  return at::linspace(0, last > 0 ? last : 1, 41, at::kDouble);
}

Tensor share_beyond(const Tensor& distance, const Tensor& grid) {
  return 100 * (distance.unsqueeze(1) > grid.unsqueeze(0)).to(at::kDouble).mean(0);
}

Tensor wrong_flags(const Analysis& a, bool attacked) {
  std::vector<Tensor> rows;
  for (const auto& h : a.heads) rows.push_back((attacked ? h.robust(a.own_radius) : h.clean_correct).logical_not());
  return at::stack(rows);
}

}  // namespace hpm
