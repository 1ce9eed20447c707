#include "hpm/report/overview_impl.h"

namespace hpm {
namespace {

bool contains(const std::vector<size_t>& items, size_t item) {
  return std::find(items.begin(), items.end(), item) != items.end();
}

}  // namespace

std::vector<size_t> not_dominated(const std::vector<std::array<double, 2>>& points) {
  std::vector<size_t> order(points.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  // Best first accuracy first, and among equal ones the best second.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return points[a] > points[b]; });
  std::vector<size_t> front;
  for (const size_t i : order) {
    const bool twin = !front.empty() && points[i] == points[front.back()];
    if (front.empty() || twin || points[i][1] > points[front.back()][1]) front.push_back(i);
  }
  std::reverse(front.begin(), front.end());
  return front;
}

std::vector<size_t> spread(const std::vector<size_t>& items, size_t most) {
  if (items.size() <= most) return items;
  std::vector<size_t> out;
  for (size_t i = 0; i < most; ++i)
    out.push_back(items[most == 1 ? 0 : (i * (items.size() - 1) + (most - 1) / 2) / (most - 1)]);
  return out;
}

bool Overview::is_alike(size_t run) const { return contains(alike, run); }
bool Overview::is_front(size_t run) const { return contains(front, run); }

size_t Overview::number_of(size_t run) const {
  const auto found = std::find(named.begin(), named.end(), run);
  return found == named.end() ? 0 : static_cast<size_t>(found - named.begin()) + 1;
}

std::string Overview::tone_of(size_t run) const { return fmt::format("t-{}", number_of(run)); }

Overview overview_of(const Comparison& c) {
  Overview o;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& figures = c.runs[i].headline();
    o.suspect += is_suspect(c.runs[i]);
    if (figures.clean_accuracy && figures.robust_accuracy) o.attacked.push_back(i);
  }
  o.basis = c.reference;
  if (!o.basis && !o.attacked.empty()) o.basis = o.attacked.front();
  std::vector<std::array<double, 2>> points;
  for (const size_t i : o.attacked) {
    if (is_suspect(c.runs[i]) || !same_evaluation(c.runs[i], c.runs[*o.basis])) continue;
    o.alike.push_back(i);
    points.push_back({*c.runs[i].headline().clean_accuracy, *c.runs[i].headline().robust_accuracy});
  }
  for (const size_t place : not_dominated(points)) o.front.push_back(o.alike[place]);
  o.named = spread(o.front, Overview::kMostNamed);
  return o;
}

}  // namespace hpm
