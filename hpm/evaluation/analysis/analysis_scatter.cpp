#include "hpm/evaluation/analysis/analysis_scatter.h"

#include "hpm/core/torch_impl.h"

namespace hpm {
namespace {

Tensor squared(const Tensor& rows) { return (rows * rows).sum(-1); }

}  // namespace

ClassScatter& ClassScatter::operator+=(const ClassScatter& other) {
  if (!sums.defined()) return *this = other;
  sums = sums + other.sums;
  squares = squares + other.squares;
  counts = counts + other.counts;
  return *this;
}

Tensor ClassScatter::means() const { return sums / counts.clamp_min(1).unsqueeze(1); }

double ClassScatter::within() const {
  return ((squares - counts * squared(means())).clamp_min(0).sum() / counts.sum()).item<double>();
}

double ClassScatter::between() const {
  const auto centre = sums.sum(0) / counts.sum();
  return ((counts * squared(means() - centre)).sum() / counts.sum()).item<double>();
}

ClassScatter class_scatter(const Tensor& h, const Tensor& y, int64_t classes) {
  torch::NoGradGuard guard;
  const auto rows = h.to(at::kCPU, at::kDouble), labels = y.to(at::kCPU);
  const auto zeros = at::zeros({classes}, rows.options());
  return {at::zeros({classes, rows.size(1)}, rows.options()).index_add_(0, labels, rows),
          zeros.index_add(0, labels, squared(rows)), zeros.index_add(0, labels, at::ones_like(labels, rows.options()))};
}

}  // namespace hpm
