// defines: CollusionOptions, VictimModel, check_colluders(), collusion_passes()
#pragma once
#include <memory>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/prototypes/model.h"
#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// Attackers among a victim's neighbours: in the context joint a prediction depends on the whole batch, so who controls
/// some other images of it may change it, with the victim's own image or without.
struct CollusionOptions {
  std::vector<int64_t> colluders =
      {};                 ///< numbers of neighbours to try, each with and without the victim; none: no study
  int64_t victims = 100;  ///< of the correctly classified images, the first ones
  int64_t steps = 50;     ///< of APGD on the cross-entropy, with each of the surrogates ste and soft
};

/// One image of a batch as an attacker sees it who controls some rows of that batch. The query is those rows, all as
/// one object; every row's answer is the victim's logits in the context joint, so the labels are the victim's.
class VictimModel : public AttackModel {
 public:
  /// z [B,D], o [B,K]: the clean batch; `rows` [M] int64 (CPU): those that queries replace; `victim`: the row to break.
  VictimModel(HpmModel model, Tensor z, Tensor o, Tensor rows, int64_t victim, const Surrogate& surrogate);
  Answer ask(const Query& query, const Loss* loss) override;
  Coupling coupling() const override { return Coupling::batch; }
  int64_t classes() const override { return model_.classifier.classes(); }
  Passes passes() const override { return model_.classifier.passes(); }

 private:
  HpmModel model_;
  Tensor z_, o_, rows_, index_;
  int64_t victim_;
  const Surrogate& surrogate_;
  Peers peers_;
};

/// Throws UsageError for numbers of neighbours that batches of `company` images do not have.
void check_colluders(const CollusionOptions& options, int64_t company);

/// Image passes of the study in batches of `company`, all victims together, at most.
Passes collusion_passes(const CollusionOptions& options, int64_t company);

}  // namespace hpm
