#include "hpm/defences/plain_defence.h"

#include <algorithm>

#include "hpm/surrogates/hpm_surrogates.h"
#include "hpm/surrogates/model_space.h"

namespace hpm {
namespace {

bool of_hpm(const std::string& name) {
  const auto& rows = hpm_surrogates();
  return is_model_space_name(name) ||
         std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.name == name; });
}

}  // namespace

PlainDefence::PlainDefence(Classifier classifier, DefenceOptions options)
    : classifier_(std::move(classifier)), options_(std::move(options)) {}

std::vector<Tensor> PlainDefence::predict_all(const Output& pass, const Tensor&, bool) { return {pass.logits}; }
Tensor PlainDefence::predict(const Output& pass, const Tensor&, size_t) { return pass.logits; }

std::vector<Surrogate> PlainDefence::surrogates(size_t, const SurrogateSelection& selection) const {
  std::vector<Surrogate> all{own_surrogate("the model's own gradient")};
  all.front().exact = true;
  if (!options_.differentiable) all.front().unavailable = "the model has no gradient";
  for (auto& surrogate : stand_ins(classifier_, options_)) all.push_back(std::move(surrogate));
  auto translated = selection;
  for (auto& name : translated.names)
    if (of_hpm(name)) name = all.front().name;
  auto& names = translated.names;
  for (auto name = names.begin(); name != names.end();)  // the names that now are the same, once
    name = std::find(names.begin(), name, *name) == name ? name + 1 : names.erase(name);
  for (const auto& surrogate : options_.more_surrogates) translated.more.push_back(surrogate.name);
  return selected(all, translated);
}

/// As many as the surrogates of an HPM model would get under the same selection.
int64_t PlainDefence::starts(const SurrogateSelection& selection) const {
  int64_t count = 0;
  for (const auto& row : hpm_surrogates()) {
    const auto& names = selection.names;
    const bool chosen =
        names.empty() ? row.quick || !selection.quick : std::find(names.begin(), names.end(), row.name) != names.end();
    count += chosen && row.logits ? 1 : 0;
  }
  return std::max<int64_t>(count, 1);
}

std::unique_ptr<AttackModel> PlainDefence::attack_model(size_t) {
  return std::make_unique<ClassifierModel>(classifier_, options_.random);
}

}  // namespace hpm
