// defines: ApgdOptions, ApgdRun, ApgdStart, apgd_start(), apgd(), apgd_run(), ranked_target(),
//          surrogate_targets()
#pragma once
#include "hpm/attacks/attack_model.h"
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
  int64_t targets = 9;  ///< of the targeted loss: the 2nd .. (targets+1)th largest clean logit; fewer where K is small;
                        ///< of an own objective: the 1st .. (targets)th
  int64_t eot = 1;      ///< gradients averaged per step, for random models
  double rho = .75;     ///< condition 1: halve the step unless more than this share of the steps raised the loss
  bool large_radius = false;    ///< L1: run at 3 eps, 2 eps, eps with 30, 30, 40 % of the steps
  bool conformance = false;     ///< broken rows stay until a run ends; targets are ranked anew before each run
  int64_t compaction = 0;       ///< see compaction_period
  std::string stream = "apgd";  ///< names the random streams, so that each attack of a sequence has its own
};

/// Where a run starts: a point inside ball and box.
struct ApgdStart {
  Tensor x;             ///< [N,C,H,W]
  bool random = false;  ///< L1: start with 20 % of the coordinates rather than the sparsity of x
};
/// The random start of apgd()'s runs.
ApgdStart apgd_start(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                     const Purpose& purpose);

/// What one run from one start found.
struct ApgdRun {
  Tensor adversarial;  ///< [N,C,H,W]: the last misclassified iterate, else the original
  Tensor correct;      ///< [N] bool: no iterate was misclassified
  Tensor best_loss;    ///< [N]
  Tensor best;         ///< [N,C,H,W]: the iterate with the largest loss
};

/// One run. `targets` [N] is read by the targeted loss alone. Unless in conformance, rows leave once they are broken,
/// and `best` is theirs at that time.
ApgdRun apgd_run(AttackModel& model, const Images& images, const ApgdStart& start, const Tensor& targets,
                 const ThreatModel& threat, const ApgdOptions& options, Monitor& monitor = silent());

/// Restarts and targets of APGD: each later run gets the images that are not broken yet. Images that the model already
/// misclassifies are returned as broken, unchanged. With Coupling::batch the whole batch is one object: one step size,
/// all rows in every run, and the images of the worst composed batch come back.
AttackResult apgd(AttackModel& model, const Images& images, const ThreatModel& threat, const ApgdOptions& options,
                  const RandomStreams& streams, Monitor& monitor = silent());

/// The class with the (rank)th largest logit in each row; rank 2 is the runner-up. [N,K] -> [N].
Tensor ranked_target(const Tensor& logits, int64_t rank);

/// Targets of one of the surrogate's ranks that the target model's ranking does not have among its own.
struct SurrogateTargets {
  Tensor classes;  ///< [N]; the target model's of that rank for who has none: a coupled batch is attacked as a whole
  Tensor fresh;    ///< [N] bool: who has one
};
/// The surrogate's 2nd .. (targets+1)th classes where the target model's logits `clean` [N,K] do not rank them as high,
/// one entry a rank; empty where the surrogate's logits are the model's own, or every class is a target.
std::vector<SurrogateTargets> surrogate_targets(AttackModel& model, const Images& images, const Tensor& clean,
                                                int64_t targets);

}  // namespace hpm
