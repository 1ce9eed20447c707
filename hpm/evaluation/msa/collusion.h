// defines: CollusionOptions, VictimModel, check_colluders(), collusion_passes()
#pragma once
#include <vector>

#include "hpm/evaluation/msa/batch_part.h"

namespace hpm {

class Fields;

/// Attackers among a victim's neighbours. Where a prediction depends on the whole batch, whoever controls some other
/// images of the batch may change it, with the victim's own image or without.
struct CollusionOptions {
  /// Numbers of neighbours to try, each with and without the victim; none: no study.
  std::vector<int64_t> colluders = {};
  int64_t victims = 100;  ///< of the correctly classified images, the first ones
  int64_t steps = 50;     ///< of APGD on the cross-entropy, with each surrogate marked in_crowds
};
void fields(Fields& f, CollusionOptions& o);  ///< all but the steps

/// One image of a batch as an attacker sees it who controls some rows of that batch. The query is those rows, all as
/// one object; every row's answer is the victim's logits, so the labels are the victim's.
class VictimModel : public BatchPartModel {
 public:
  /// As BatchPartModel; `victim`: the row to break.
  VictimModel(BatchPart part, int64_t victim);
  Answer ask(const Query& query, const Loss* loss) override;

 private:
  int64_t victim_;
};

/// Throws UsageError for numbers of neighbours that batches of `company` images do not have.
void check_colluders(const CollusionOptions& options, int64_t company);

/// Image passes of the study in batches of `company`, all victims together, at most.
Passes collusion_passes(const CollusionOptions& options, int64_t company, int64_t surrogates);

}  // namespace hpm
