// defines: TransferModel
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// A classifier without an HPM head that is attacked through a stand-in: verdicts are the classifier's, gradients those
/// of a surrogate's logits (a peer's, or a file's). The classifier itself need not be differentiable.
class TransferModel : public AttackModel {
 public:
  /// `differentiable`: false for a black box, which a surrogate that reads features or FC logits sees as constants.
  TransferModel(Classifier target, Surrogate surrogate, Peers peers, bool differentiable = true);

  Answer ask(const Query& query, const Loss* loss) override;
  bool has_surrogate_logits() const override { return true; }
  Tensor surrogate_logits(const Query& query) override;
  int64_t classes() const override { return target_.classes(); }
  Passes passes() const override;

 private:
  Tensor logits_of(const Tensor& x, const Output& out, const Tensor& index) const;

  Classifier target_;
  Surrogate surrogate_;
  Peers peers_;
  bool through_target_;  // the surrogate differentiates the target's backbone
};

}  // namespace hpm
