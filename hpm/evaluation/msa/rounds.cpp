#include "hpm/attacks/apgd.h"
#include "hpm/evaluation/msa/msa_impl.h"
#include "hpm/models/operations.h"

namespace hpm {

Tensor attack_in_rounds(const MsaRun& run, AttackedDefence& attacked, const Images& batch, const AttackSpec& spec,
                        const RandomStreams& streams) {
  const SearchOperations faster;
  const auto adapt_to = [&](const Tensor& x, bool anew) {
    torch::NoGradGuard guard;
    attacked.surrogate().adapt(run.defence.run(x), anew);
  };
  WorstBatch worst;
  adapt_to(batch.x, true);
  for (int64_t round = 0; round < spec.restarts; ++round) {
    const auto start = apgd_start(batch, run.threat, streams, {"gmsa start", round});
    const auto found =
        apgd_run(attacked, batch, start, {}, run.threat, {.steps = spec.steps, .stream = "gmsa"}, run.monitor);
    worst.see(found.adversarial, found.correct.logical_not());
    if (round + 1 < spec.restarts) adapt_to(found.best, false);
  }
  return worst.images;
}

}  // namespace hpm
