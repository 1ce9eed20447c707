// defines: PlainDefence
#pragma once
#include <vector>

#include "hpm/defences/defence_options.h"

namespace hpm {

/// A model without an HPM head: one target, its own prediction. Its surrogates are its own gradient, the networks that
/// adversarial images may transfer from, those of the user, and queries.
class PlainDefence : public Defence {
 public:
  explicit PlainDefence(Classifier classifier, DefenceOptions options = {});

  int64_t classes() const override { return classifier_.classes(); }
  const std::vector<DefenceTarget>& targets() const override { return targets_; }
  Output run(const Tensor& x) override { return classifier_.run(x); }
  std::vector<Tensor> predict_all(const Output& pass, const Tensor& index, bool whole_batch) override;
  Tensor predict(const Output& pass, const Tensor& index, size_t target) override;
  /// Names of HPM's surrogates stand for the model's own gradient, so that a control can be run with the same command.
  std::vector<Surrogate> surrogates(size_t target, const SurrogateSelection& selection) const override;
  int64_t starts(const SurrogateSelection& selection) const override;
  bool random() const override { return options_.random; }
  bool differentiable() const override { return options_.differentiable; }
  bool exact_search() const override { return classifier_.exact_search(); }
  bool search_tf32() const override { return classifier_.search_tf32(); }
  Passes passes() const override { return classifier_.passes(); }
  std::unique_ptr<AttackModel> attack_model(size_t target) override;

 private:
  Classifier classifier_;
  DefenceOptions options_;
  std::vector<DefenceTarget> targets_{DefenceTarget{}};
};

}  // namespace hpm
