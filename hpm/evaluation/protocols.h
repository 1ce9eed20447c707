// defines: AttackedImages, Computing, Work, require_images(), predict_logits(), verify_model(), leading_name(),
// batch_places(), rows_that_differ(), clean_verdict(), evaluate_clean(), evaluate_pgd(), evaluate_autoattack()
#pragma once
#include "hpm/attacks/autoattack.h"
#include "hpm/attacks/pgd.h"
#include "hpm/defences/defence.h"
#include "hpm/evaluation/evaluation.h"
#include "hpm/io/journal.h"

namespace hpm {

/// What a protocol attacks.
struct AttackedImages {
  const ImageSet& images;
  ThreatModel threat;
};

/// What every protocol needs beside its own options.
struct Computing {
  uint64_t seed = 0;         ///< of all random numbers
  int64_t batch_size = 256;  ///< images per pass
};

/// Where a protocol reports its progress and writes down its finished pieces of work.
struct Work {
  Monitor& monitor = silent();
  WorkLog log = {};
  /// When the time is up; the protocol fast alone looks at it.
  std::optional<std::chrono::steady_clock::time_point> deadline = {};
};

/// Throws UsageError in the name of `call` where there are no images; `index` [n]: their numbers.
void require_images(const Tensor& index, const char* call);

/// Logits [n,K] of one target, in chunks of `batch_size`; of a coupled target in its fixed batches. Throws
/// UsageError for no images.
Tensor predict_logits(Defence& defence, size_t target, const ImageSet& images, int64_t batch_size);

/// Verdicts of independent rows from a fresh pass; a random model has no near ties that could be looked at again.
FreshVerdict verify_model(AttackModel& model, const Images& images);

/// The surrogate through which the first target is attacked, by name: none for a plain model.
std::string leading_name(const Defence& defence);

/// The places of the images of each fixed batch among `images`.
std::vector<Tensor> batch_places(const Defence& defence, const ImageSet& images);

/// [N] bool: rows of logits [N,K] that differ by more than a share of their range; NaN differs from everything.
Tensor rows_that_differ(const Tensor& a, const Tensor& b, double share);

/// One target's verdicts on the images as they are.
struct CleanVerdict {
  ContextOutcome context;
  Tensor close;  ///< [n] bool: nearly a tie, and decided again alone (in a coupled batch no row stands alone)
};
/// Kept in the log where one is given, and shared by its processes: not for a random model, whose draws go on from one
/// batch to the next.
CleanVerdict clean_verdict(Defence& defence, size_t target, const ImageSet& images, int64_t batch_size,
                           const WorkLog& log = {});

/// Verdicts of every target on the images as they are.
Evaluation evaluate_clean(Defence& defence, const ImageSet& images, int64_t batch_size, const WorkLog& log = {});

/// PGD on the first target through its leading surrogate. Throws UsageError for a target whose batch is one object.
Evaluation evaluate_pgd(Defence& defence, const AttackedImages& on, const PgdOptions& options,
                        const Computing& computing, const Work& work = {});

/// AutoAttack on the first target through its leading surrogate. Throws UsageError for a target whose batch is one
/// object: AutoAttack repacks survivors.
Evaluation evaluate_autoattack(Defence& defence, const AttackedImages& on, const AutoAttackOptions& options,
                               const Work& work = {});

}  // namespace hpm
