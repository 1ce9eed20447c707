// defines: AttackedDefence
#pragma once
#include "hpm/defences/observer.h"

namespace hpm {

/// One target of a defence under attack through one surrogate: the surrogate gives the gradients, the target's
/// prediction gives the verdicts, both from the same pass of the network. An observer, where there is one, sees every
/// iterate. Defence and observer must outlive it.
class AttackedDefence : public AttackModel {
 public:
  AttackedDefence(Defence& defence, size_t target, Surrogate surrogate, Observer* observer = nullptr);

  Answer ask(const Query& query, const Loss* loss) override;
  bool has_surrogate_logits() const override { return surrogate_.logits != nullptr; }
  Tensor surrogate_logits(const Query& query) override;
  const Surrogate& surrogate() const { return surrogate_; }
  Coupling coupling() const override { return defence_.targets()[target_].coupling; }
  bool random() const override { return defence_.random(); }
  bool shares_iterates() const override { return observer_ && defence_.targets().size() > 1; }
  int64_t classes() const override { return defence_.classes(); }
  Passes passes() const override;

 private:
  Tensor target_logits(const Query& query, const Output& pass, bool searched);
  Tensor confirmed_logits(const Query& query, const Output& pass, const Loss& loss);
  bool breaks_the_batch(const Query& query, const std::vector<Tensor>& logits);
  void differentiate_surrogate(const Query& query, const Tensor& leaf, const Output& pass, const Loss& loss,
                               Answer& answer);

  Defence& defence_;
  size_t target_;
  Surrogate surrogate_;
  Observer* observer_;
};

}  // namespace hpm
