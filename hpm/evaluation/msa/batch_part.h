// defines: BatchPart, BatchPartModel, crowd_surrogates()
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/defences/defence.h"

namespace hpm {

/// A batch of which an attacker moves some rows.
struct BatchPart {
  Defence& defence;
  size_t target;
  Surrogate surrogate;
  Query batch;   ///< the batch as it is: x [B,C,H,W], index [B]
  Output clean;  ///< the pass over it: z [B,D], o [B,K]
  Tensor rows;   ///< [M] int64: those that move
};

/// The same as one object. The pass over the other rows is made once.
class BatchPartModel : public AttackModel {
 public:
  Coupling coupling() const override { return Coupling::batch; }
  int64_t classes() const override { return defence_.classes(); }
  Passes passes() const override { return defence_.passes(); }

 protected:
  /// The defence must outlive it. Throws UsageError for a surrogate without logits, and for a defence whose pass does
  /// not treat rows independently.
  explicit BatchPartModel(BatchPart part);
  /// The pass over the batch with the images x [M,C,H,W] in the rows that move.
  Output with(const Tensor& x) const;
  /// The target's logits [B,K] of such a pass. Without gradient.
  Tensor predict(const Output& pass) const;
  /// The surrogate's logits [B,K] of such a pass. It sees the whole batch, of which x is a part.
  Tensor stand_in(const Tensor& x, const Output& pass) const;

  Defence& defence_;
  size_t target_;
  Surrogate surrogate_;
  Query batch_;
  Output clean_;
  Tensor rows_;
};

/// The surrogates that can attack part of a batch of this target; none where the defence's pass does not treat rows
/// independently.
std::vector<Surrogate> crowd_surrogates(const Defence& defence, size_t target);

}  // namespace hpm
