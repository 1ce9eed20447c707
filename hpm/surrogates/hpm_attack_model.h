// defines: HpmAttackModel
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/prototypes/model.h"
#include "hpm/surrogates/hpm_surrogates.h"

namespace hpm {

/// An HPM model in one context, attacked through one surrogate: what training makes its adversaries against. The
/// surrogate gives gradients, the hard prediction gives verdicts, from the same pass of the network. (An evaluation
/// attacks an HpmDefence instead, which judges several contexts at once.)
class HpmAttackModel : public AttackModel {
 public:
  /// `verdicts`: predictions count. Those of a context whose batch is one object are then computed again as PyTorch's
  /// layers do where any is wrong, because a pass with a gradient rounds otherwise (docs/performance.md). Training
  /// needs the images alone, and saves these passes.
  HpmAttackModel(HpmModel model, Context context, const HpmSurrogate& surrogate, bool verdicts = true);

  Answer ask(const Query& query, const Loss* loss) override;
  bool has_surrogate_logits() const override { return surrogate_.logits != nullptr; }
  Tensor surrogate_logits(const Query& query) override;
  Coupling coupling() const override;
  int64_t classes() const override { return model_.classifier.classes(); }
  Passes passes() const override { return model_.classifier.passes(); }

 private:
  HpmModel model_;
  Context context_;
  Surrogate surrogate_;
  bool verdicts_;
};

}  // namespace hpm
