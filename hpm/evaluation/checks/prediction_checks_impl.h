// defines: PredictionChecks
#pragma once
#include "hpm/evaluation/checks/check_view_impl.h"

namespace hpm {

/// The checks that repeat predictions: whether they are a function of the image alone.
class PredictionChecks {
 public:
  explicit PredictionChecks(const CheckView& view) : view_(view) {}

  /// The same images twice.
  CheckOutcome determinism() const;
  /// Permuted, split, duplicated and padded batches, and batches of which half is inverted or adversarial, must not change
  /// a prediction, nor its logits by more than rounding: a defence that makes its own answer surer changes those alone.
  /// `adversarial` [N,C,H,W]: other versions of the sample, where there are some. Of a model that is declared random
  /// only this is asked: do the first images keep their answers when the others, which draw after them, change places?
  CheckOutcome consistency(const Tensor& adversarial) const;

 private:
  /// [N,K] (CPU) of versions of the rows of the sample.
  Tensor logits_of(const Tensor& x, const Tensor& rows) const;
  CheckOutcome consistency_of_draws() const;

  const CheckView& view_;
};

}  // namespace hpm
