// defines: BatchPartModel
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/defences/defence.h"

namespace hpm {

/// A batch of which an attacker moves some rows, as one object. The pass over the other rows is made once.
class BatchPartModel : public AttackModel {
 public:
  Coupling coupling() const override { return Coupling::batch; }
  int64_t classes() const override { return defence_.classes(); }
  Passes passes() const override { return defence_.passes(); }

 protected:
  /// `clean`: the pass over the batch as it is, z [B,D], o [B,K]; `rows` [M] int64: those that move. The defence must
  /// outlive it. Throws UsageError for a surrogate without logits, and for a defence whose pass does not treat rows
  /// independently.
  BatchPartModel(Defence& defence, size_t target, Surrogate surrogate, Output clean, const Tensor& rows);
  /// The pass over the batch with the images x [M,C,H,W] in the rows that move.
  Output with(const Tensor& x) const;
  /// The target's logits [B,K] of such a pass; `index` [B]: the images' numbers. Without gradient.
  Tensor predict(const Output& batch, const Tensor& index) const;

  Defence& defence_;
  size_t target_;
  Surrogate surrogate_;
  Output clean_;
  Tensor rows_;
};

}  // namespace hpm
