// defines: FirstFinds
#pragma once
#include "hpm/evaluation/checks/check_view_impl.h"

namespace hpm {

/// What attacks of one kind broke in a context before any other one: the evidence of the checks that look for masked
/// gradients without attacking again.
class FirstFinds {
 public:
  explicit FirstFinds(const CheckView& view) : view_(view) {}

  /// Images of this context that surrogates of a kind broke first, whichever context they attacked, and that the
  /// leading surrogate did not break here. In joint, where batches are attacked whole: by how many more images were
  /// wrong, and the finds of other contexts that are part of a composition.
  int64_t of_kind(SurrogateKind kind) const;
  /// Images that the evaluation's own Square broke first, in this context.
  int64_t of_square() const;
  /// Whether a surrogate of this kind attacked this context.
  bool attacked_by(SurrogateKind kind) const;
  /// Whether the evaluation had a Square of its own, after attacks with gradients.
  bool own_square() const;
  /// Whether FAB attacked in the evaluation, everything or a sample.
  bool own_fab() const;

 private:
  Tensor broken_by_leading() const;  // [N] bool, in this context
  const CheckView& view_;
};

}  // namespace hpm
