#include "hpm/evaluation/checks/first_finds_impl.h"

#include <algorithm>

namespace hpm {
namespace {

bool ran(const SurrogateOutcome& surrogate) { return surrogate.unavailable.empty(); }

}  // namespace

int64_t FirstFinds::of_kind(SurrogateKind kind) const {
  int64_t count = 0;
  if (view_.coupled) {
    for (const auto& surrogate : view_.outcome().surrogates) count += surrogate.kind == kind ? surrogate.first : 0;
    for (const auto& by : view_.outcome().broken_by)
      count += by && by.kind == kind && (by.composed || by.target != view_.outcome().context);
    return count;
  }
  const auto led = broken_by_leading();
  for (size_t i = 0; i < view_.outcome().broken_by.size(); ++i) {
    const auto& by = view_.outcome().broken_by[i];
    count += by && by.kind == kind && !led[static_cast<int64_t>(i)].item<bool>();
  }
  return count;
}

Tensor FirstFinds::broken_by_leading() const {
  auto broken = at::zeros({view_.images.size()}, at::kBool);
  for (const auto& surrogate : view_.outcome().surrogates)
    for (const auto& attack : view_.evaluation.attacks)
      if (surrogate.leads && attack.surrogate == surrogate.name && attack.context == view_.outcome().context &&
          attack.matrix.defined())
        broken = broken | attack.matrix.eq(2);
  return broken;
}

bool FirstFinds::attacked_by(SurrogateKind kind) const {
  const auto& all = view_.outcome().surrogates;
  return std::any_of(all.begin(), all.end(), [&](const auto& s) { return s.kind == kind && ran(s); });
}

bool FirstFinds::own_square() const {
  if (!view_.options.gradients) return false;
  if (!view_.outcome().surrogates.empty()) return attacked_by(SurrogateKind::query);
  return std::any_of(view_.evaluation.attacks.begin(), view_.evaluation.attacks.end(), [&](const auto& attack) {
    return !asks_for_gradients(attack.name) && attack.context == view_.outcome().context;
  });
}

bool FirstFinds::own_fab() const {
  return std::any_of(view_.evaluation.attacks.begin(), view_.evaluation.attacks.end(), [&](const auto& attack) {
    return seeks_boundary(attack.name) && attack.passes.forward > 0 && attack.context == view_.outcome().context;
  });
}

int64_t FirstFinds::of_square() const {
  if (!view_.outcome().surrogates.empty()) return of_kind(SurrogateKind::query);
  int64_t first = 0;
  Tensor before;  // after the attacks before it
  for (const auto& attack : view_.evaluation.attacks) {
    if (attack.context != view_.outcome().context) continue;
    if (!asks_for_gradients(attack.name) && before.defined())
      first += (before & attack.robust.logical_not()).sum().item<int64_t>();
    before = attack.robust;
  }
  return first;
}

}  // namespace hpm
