// defines: FunctionModel
#pragma once
#include <functional>

#include "hpm/attacks/attack_model.h"

namespace hpm {

/// Any differentiable function from images [N,C,H,W] in [0,1] to logits [N,K], so that it can be attacked. Freeze the
/// parameters' gradients and set evaluation mode beforehand. Example: examples/01_autoattack.cpp.
class FunctionModel : public AttackModel {
 public:
  using Function = std::function<Tensor(const Tensor&)>;
  FunctionModel(Function logits, int64_t classes, bool random = false);
  Answer ask(const Query& query, const Loss* loss) override;
  bool random() const override { return random_; }
  int64_t classes() const override { return classes_; }
  Passes passes() const override { return passes_; }

 private:
  Function logits_;
  int64_t classes_;
  bool random_;
  Passes passes_;
};

}  // namespace hpm
