// defines: ApgdOptions, ApgdRun, ApgdStart, apgd_start(), apgd(), apgd_run()
#pragma once
#include "hpm/attacks/attack_runs.h"
#include "hpm/attacks/budget.h"
#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"

namespace hpm {

/// Auto-PGD (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
/// attacks", ICML 2020, arXiv:2003.01690, Algorithm 1; L1: "Mind the box", ICML 2021, arXiv:2103.01208).
struct ApgdOptions {
  LossKind loss = LossKind::ce;
  int64_t steps = 100;   ///< gradient steps per restart
  int64_t restarts = 1;  ///< random starts (per target, for the targeted loss)
  int64_t targets = 9;   ///< of targeted losses: the 2nd .. (targets+1)th largest clean logit, fewer where K is small;
                         ///< of LossKind::own: the 1st .. (targets)th
  int64_t eot = 1;       ///< gradients averaged per step, for random models
  double rho = .75;      ///< condition 1: halve the step unless more than this share of the steps raised the loss
  bool large_radius = false;    ///< L1: run at 3 eps, 2 eps, eps with 30, 30, 40 % of the steps
  bool conformance = false;     ///< as the authors: broken rows stay until a run ends; each run ranks the targets again
  int64_t compaction = 0;       ///< see compaction_period
  int64_t at_once = 0;          ///< see RunPasses; 0 in conformance
  std::string stream = "apgd";  ///< names the random streams, so that each attack of a sequence has its own
};

/// Where a run starts: a point inside ball and box.
struct ApgdStart {
  Tensor x;             ///< [N,C,H,W]
  bool random = false;  ///< L1: start with 20 % of the coordinates rather than the sparsity of x
};
/// The random start of apgd()'s runs.
ApgdStart apgd_start(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                     const Purposes& purposes);
ApgdStart apgd_start(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                     const Purpose& purpose);

/// What one run from one start found.
struct ApgdRun {
  Tensor adversarial;  ///< [N,C,H,W]: the last misclassified iterate, else the original
  Tensor correct;      ///< [N] bool: no iterate was misclassified
  Tensor best_loss;    ///< [N]
  Tensor best;         ///< [N,C,H,W]: the iterate with the largest loss
};

/// One run from one start. Only targeted losses read `targets` [N]. A row leaves once it is broken, and `best` is its
/// best iterate until then; in conformance it stays until the run ends. Throws NotFinite for answers that are not
/// finite.
ApgdRun apgd_run(AttackModel& model, const Images& images, const ApgdStart& start, const Tensor& targets,
                 const ThreatModel& threat, const ApgdOptions& options, Monitor& monitor = silent());

/// APGD from all its random starts towards all its targets (attack_in_runs). With Coupling::batch the batch has one
/// loss, the sum over its rows, and one step size.
AttackResult apgd(AttackModel& model, const Images& images, const ThreatModel& threat, const ApgdOptions& options,
                  const RandomStreams& streams, Monitor& monitor = silent());

/// What apgd() takes for an image that it does not break.
AttackBudget budget_of(const ApgdOptions& options);

}  // namespace hpm
