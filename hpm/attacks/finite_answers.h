// defines: FiniteAnswers, NotFinite
#pragma once
#include <string>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/core/error.h"

namespace hpm {

/// A logit or a loss was NaN or infinite. The message names the attack and the image.
class NotFinite : public Error {
 public:
  using Error::Error;
};

/// A model whose answers are looked at: a logit or a loss that is NaN or infinite throws NotFinite. An attack on such
/// values would go on without a direction, and call the image robust.
///
/// On a GPU each look waits for the device. The answers of 64 queries are therefore looked at together, and finish()
/// must be called at the end.
class FiniteAnswers : public AttackModel {
 public:
  /// `attack`: the name in the message. `period`: queries between two looks; 0 for the default, which is 1 on the CPU
  /// and 64 on a GPU.
  FiniteAnswers(AttackModel& model, std::string attack, int64_t period = 0);
  Answer ask(const Query& query, const Loss* loss) override;
  bool has_surrogate_logits() const override { return model_.has_surrogate_logits(); }
  Tensor surrogate_logits(const Query& query) override;
  Coupling coupling() const override { return model_.coupling(); }
  bool random() const override { return model_.random(); }
  bool shares_iterates() const override { return model_.shares_iterates(); }
  int64_t classes() const override { return model_.classes(); }
  Passes passes() const override { return model_.passes(); }
  /// Looks at the answers that were put off. Throws NotFinite as ask() does.
  void finish();

 private:
  struct Seen {
    const char* what;
    Tensor index, finite;  // [N]
  };
  void note(const char* what, const Tensor& index, const Tensor& values);
  void look_when_due(const Query& query);
  static bool all_finite(const std::vector<Seen>& seen);
  AttackModel& model_;
  std::string attack_;
  int64_t period_, asked_ = 0;
  std::vector<Seen> pending_;
};

}  // namespace hpm
