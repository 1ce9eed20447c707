#include "hpm/evaluation/msa/batch_part.h"

#include "hpm/core/error.h"

namespace hpm {

BatchPartModel::BatchPartModel(BatchPart part)
    : defence_(part.defence),
      target_(part.target),
      surrogate_(std::move(part.surrogate)),
      batch_(std::move(part.batch)),
      clean_(std::move(part.clean)),
      rows_(part.rows.to(clean_.logits.device())) {
  require(surrogate_.logits != nullptr, "msa: an attack on part of a batch needs a surrogate with logits, but got {}",
          surrogate_.name);
  require(defence_.row_wise_pass(),
          "msa: an attack on part of a batch needs a defence whose pass treats rows independently");
}

Output BatchPartModel::with(const Tensor& x) const {
  const auto out = defence_.run(x);
  return {clean_.features.index_copy(0, rows_, out.features), clean_.logits.index_copy(0, rows_, out.logits)};
}

Tensor BatchPartModel::predict(const Output& pass) const {
  torch::NoGradGuard guard;
  return defence_.predict({pass.features.detach(), pass.logits.detach()}, batch_.index, target_);
}

Tensor BatchPartModel::stand_in(const Tensor& x, const Output& pass) const {
  const auto images = batch_.x.index_copy(0, rows_, x);
  return surrogate_.logits({images, pass.features, pass.logits, batch_.index});
}

std::vector<Surrogate> crowd_surrogates(const Defence& defence, size_t target) {
  std::vector<Surrogate> all;
  if (!defence.row_wise_pass()) return all;
  for (auto& surrogate : defence.surrogates(target, {.quick = false}))
    if (surrogate.in_crowds && surrogate.unavailable.empty() && surrogate.logits) all.push_back(std::move(surrogate));
  return all;
}

}  // namespace hpm
