// defines: CollusionOptions, VictimModel, check_colluders(), collusion_passes()
#pragma once
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/defences/defence.h"

namespace hpm {

/// Attackers among a victim's neighbours. Where a prediction depends on the whole batch, whoever controls some other
/// images of the batch may change it, with the victim's own image or without.
struct CollusionOptions {
  std::vector<int64_t> colluders =
      {};                 ///< numbers of neighbours to try, each with and without the victim; none: no study
  int64_t victims = 100;  ///< of the correctly classified images, the first ones
  int64_t steps = 50;     ///< of APGD on the cross-entropy, with each surrogate marked in_crowds
};

/// One image of a batch as an attacker sees it who controls some rows of that batch. The query is those rows, all as
/// one object; every row's answer is the victim's logits, so the labels are the victim's. The pass over the other rows
/// is made once: the defence's pass must treat rows independently (Defence::row_wise_pass).
class VictimModel : public AttackModel {
 public:
  /// `clean`: the pass over the batch as it is, z [B,D], o [B,K]; `rows` [M] int64 (CPU): those that queries replace;
  /// `victim`: the row to break. The defence must outlive it.
  VictimModel(Defence& defence, size_t target, Surrogate surrogate, Output clean, Tensor rows, int64_t victim);
  Answer ask(const Query& query, const Loss* loss) override;
  Coupling coupling() const override { return Coupling::batch; }
  int64_t classes() const override { return defence_.classes(); }
  Passes passes() const override { return defence_.passes(); }

 private:
  Defence& defence_;
  size_t target_;
  Surrogate surrogate_;
  Output clean_;
  Tensor rows_, index_;
  int64_t victim_;
};

/// Throws UsageError for numbers of neighbours that batches of `company` images do not have.
void check_colluders(const CollusionOptions& options, int64_t company);

/// Image passes of the study in batches of `company`, all victims together, at most.
Passes collusion_passes(const CollusionOptions& options, int64_t company, int64_t surrogates);

}  // namespace hpm
