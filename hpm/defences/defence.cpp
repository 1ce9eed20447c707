#include "hpm/defences/defence.h"

#include <algorithm>

#include "hpm/core/error.h"
#include "hpm/core/tf32.h"
#include "hpm/defences/attacked_defence.h"

namespace hpm {

std::unique_ptr<AttackModel> Defence::attack_model(size_t target) {
  if (auto leading = leading_surrogate(*this, target))
    return std::make_unique<AttackedDefence>(*this, target, std::move(*leading));
  fail("attack_model: no surrogate of the target \"{}\" leads", targets().at(target).name);
}

Tensor predict_once(Defence& defence, const Query& query, size_t target) {
  torch::NoGradGuard guard;
  const ScopedTf32 exact(false, query.x.device());
  return defence.predict(defence.run(query.x), query.index, target);
}

std::optional<Surrogate> leading_surrogate(const Defence& defence, size_t target) {
  for (auto& surrogate : defence.surrogates(target, {.quick = false}))
    if (surrogate.leads) return std::move(surrogate);
  return std::nullopt;
}

int64_t largest_batch(const Defence& defence) {
  int64_t largest = 0;
  for (const auto& batch : defence.batches()) largest = std::max(largest, batch.numel());
  return largest;
}

std::vector<size_t> attacked_targets(const Defence& defence) {
  std::vector<size_t> attacked;
  for (size_t t = 0; t < defence.targets().size(); ++t)
    if (!defence.targets()[t].same_as && !defence.targets()[t].beside) attacked.push_back(t);
  return attacked;
}

std::vector<size_t> targets_beside(const Defence& defence, size_t target) {
  std::vector<size_t> beside;
  for (size_t t = 0; t < defence.targets().size(); ++t)
    if (defence.targets()[t].beside == target) beside.push_back(t);
  return beside;
}

}  // namespace hpm
