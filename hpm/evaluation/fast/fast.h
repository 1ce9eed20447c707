// defines: FastOptions, evaluate_fast(), FastCost, fast_cost(), alarms_check(), time_check()
#pragma once
#include "hpm/evaluation/fast/alarms.h"
#include "hpm/evaluation/protocols.h"

namespace hpm {

struct FastOptions {
  uint64_t seed = 0;
  int64_t batch_size = 256;
  AlarmOptions alarms = {};
};

/// The protocol fast on the first target (docs/fast.md): the relaxation attack on every correctly classified image;
/// targeted APGD on the twentieth of the survivors that it came nearest to; alarms; and after an alarm AutoAttack on
/// all that stand. Where the time is up earlier, what was attacked counts, and the result is suspect. Throws UsageError
/// for a target whose batch is one object, and for eps 0.
Evaluation evaluate_fast(Defence& defence, const AttackedImages& on, const FastOptions& options, const Work& work = {});

/// Image passes, an image.
struct FastCost {
  Passes usual;  ///< of images that survive, without an alarm
  Passes most;   ///< with everything that can happen to an image that survives it
};
/// `n` images share the sampled stages and the alarms.
FastCost fast_cost(const FastOptions& options, Norm norm, int64_t classes, int64_t n, bool transfer);

/// The check "alarms": failed where one fired and nothing followed.
CheckOutcome alarms_check(const FastOutcome& fast);
/// The check "time limit": failed where the time ended one of the stages.
CheckOutcome time_check(const std::vector<StageResult>& stages);

}  // namespace hpm
