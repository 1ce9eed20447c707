// defines: FabOptions, FabRun, fab(), fab_run()
#pragma once
#include "hpm/attacks/attack_runs.h"
#include "hpm/attacks/budget.h"
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
  bool conformance = false;  ///< the authors' passes and operations: two passes a step, no row leaves before a run ends
  int64_t compaction = 0;    ///< see compaction_period; above 1 each step is two passes of all rows, as the authors'
  int64_t at_once = 0;       ///< see RunPasses; 0 in conformance
  int64_t classes = 10;      ///< of the model. Read by budget_of() alone
  std::string stream = "fab";  ///< names the random streams
};

/// What one run found.
struct FabRun {
  Tensor adversarial;  ///< [N,C,H,W]: the misclassified iterate nearest to the image, else the image
  Tensor distance;     ///< [N]: its norm; 1e10 where there is none
};

/// One run from `start` ([N,C,H,W]; undefined: from the images), at most `options.steps` linearisations. Only FAB-T
/// reads `targets` [N]. A row leaves once its distance is at most eps; its verdict and its gradient come from the same
/// pass, unless it has just stepped back. In conformance all rows stay, and each step is two passes. Throws NotFinite
/// for answers that are not finite.
FabRun fab_run(AttackModel& model, const Images& images, const Tensor& start, const Tensor& targets,
               const ThreatModel& threat, const FabOptions& options, Monitor& monitor = silent());

/// FAB from all its starts towards all its targets (attack_in_runs). With Coupling::batch the rows that a run brings
/// within eps make up one composed batch.
AttackResult fab(AttackModel& model, const Images& images, const ThreatModel& threat, const FabOptions& options,
                 const RandomStreams& streams, Monitor& monitor = silent());

/// What fab() takes for an image that it does not break. A linearisation differentiates one difference of logits, or,
/// untargeted, each logit: so many backward passes as there are classes.
AttackBudget budget_of(const FabOptions& options);

}  // namespace hpm
