// defines: FabOptions, FabRun, fab(), fab_run()
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"

namespace hpm {

/// FAB (Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020,
/// arXiv:1907.02044, Algorithm 1) and its targeted version FAB-T.
struct FabOptions {
  bool targeted = true;  ///< linearise against one class after the other rather than against all of them
  int64_t steps = 100;   ///< linearisations per restart (and target)
  int64_t restarts = 1;  ///< the first starts at the image, later ones at random within eps / 2
  int64_t targets = 9;   ///< the 2nd .. (targets+1)th largest clean logit, then the surrogate's; fewer where K is small
  double alpha_max = .1;     ///< largest bias towards the original image
  double eta = 1.05;         ///< overshoot of the projections
  double beta = .9;          ///< step back towards the image once misclassified
  bool conformance = false;  ///< the authors' passes and operations: two passes a step, nobody leaves before a run ends
  int64_t compaction = 0;    ///< see compaction_period; above 1 each step is two passes of all rows, as the authors'
  std::string stream = "fab";  ///< names the random streams
};

/// What one run found.
struct FabRun {
  Tensor adversarial;  ///< [N,C,H,W]: the misclassified iterate nearest to the image, else the image
  Tensor distance;     ///< [N]: its norm; 1e10 where there is none
};

/// One run from `start` ([N,C,H,W]; undefined: from the images), at most `options.steps` linearisations. `targets` [N]
/// is read by FAB-T alone. Unless in conformance, rows leave once their distance is at most eps, and a row's verdict
/// and its gradient come from the same pass unless the row has just stepped back.
FabRun fab_run(AttackModel& model, const Images& images, const Tensor& start, const Tensor& targets,
               const ThreatModel& threat, const FabOptions& options, Monitor& monitor = silent());

/// Restarts and targets of FAB: each later run gets the images that are not broken yet. Images that the model already
/// misclassifies are returned as broken, unchanged. With Coupling::batch every run gets the whole batch, and the
/// composed batch with the most wrong predictions comes back.
AttackResult fab(AttackModel& model, const Images& images, const ThreatModel& threat, const FabOptions& options,
                 const RandomStreams& streams, Monitor& monitor = silent());

}  // namespace hpm
