#include "hpm/evaluation/msa/batch_part.h"

#include "hpm/core/error.h"

namespace hpm {

BatchPartModel::BatchPartModel(Defence& defence, size_t target, Surrogate surrogate, Output clean, const Tensor& rows)
    : defence_(defence),
      target_(target),
      surrogate_(std::move(surrogate)),
      clean_(std::move(clean)),
      rows_(rows.to(clean_.logits.device())) {
  require(surrogate_.logits != nullptr, "msa: an attack on part of a batch needs a surrogate with logits, but got {}",
          surrogate_.name);
  require(defence_.row_wise_pass(),
          "msa: an attack on part of a batch needs a defence whose pass treats rows independently");
}

Output BatchPartModel::with(const Tensor& x) const {
  const auto out = defence_.run(x);
  return {clean_.features.index_copy(0, rows_, out.features), clean_.logits.index_copy(0, rows_, out.logits)};
}

Tensor BatchPartModel::predict(const Output& batch, const Tensor& index) const {
  torch::NoGradGuard guard;
  return defence_.predict({batch.features.detach(), batch.logits.detach()}, index, target_);
}

}  // namespace hpm
