// defines: RelaxationOptions, relaxation()
#pragma once
#include "hpm/attacks/attack_runs.h"
#include "hpm/attacks/budget.h"
#include "hpm/core/progress.h"

namespace hpm {

/// A constraint relaxation attack, after "Efficient robustness evaluation via constraint relaxation" (AAAI 2025);
/// docs/fast.md has the definition and what differs from theirs.
///
/// A short PGD ranks the wrong classes. Then z_t - z_y is raised for one class t after the other, in cycles. A cycle
/// has a step length s eps, and three parts: steps in the ball of radius (1 + s) eps; steps in the ball of radius eps;
/// and after the perturbation was shrunk to (1 - s) eps and disturbed by noise of length s eps, steps in the ball of
/// radius eps again. s is 1/2 in the first cycle and half as long in each further one, but at least 1/20.
///
/// Every iterate inside the ball is judged by the target's prediction, and broken images leave. All thresholds are
/// shares of the spread of an image's clean logits (logit_spread), so that the scale of the logits does not matter.
struct RelaxationOptions {
  int64_t warm_up = 10;  ///< gradient steps of the PGD that ranks the classes
  int64_t targets = 9;  ///< classes aimed at, in the order of the logits that the PGD ends with; fewer where K is small
  int64_t leading = 3;  ///< of these: they get a whole first cycle; the others' first cycle begins with two half parts
  int64_t cycles = 5;   ///< per target and start
  int64_t part = 10;    ///< gradient steps of each of a cycle's parts
  bool relaxed = true;  ///< false: the first part too stays in the ball of radius eps
  double give_up = .4;  ///< a target is given up where z_y - z_t exceeds this share of s after a cycle's second part
  int64_t starts = 2;   ///< further starts, at random, for pairs of an image and a target that came `near`
  double near = .02;    ///< the largest z_y - z_t of such a pair
  int64_t compaction = 0;             ///< see compaction_period
  int64_t at_once = 0;                ///< see RunPasses
  std::string stream = "relaxation";  ///< names the random streams
};
/// What relaxation() takes for an image that it does not break.
AttackBudget budget_of(const RelaxationOptions& options);

/// AttackResult::margin is given. Where a surrogate has logits of its own, the classes that it ranks high at the end of
/// the PGD are targets too. With Coupling::batch no row leaves, and a target is given up where all rows give it up.
AttackResult relaxation(AttackModel& model, const Images& images, const ThreatModel& threat,
                        const RelaxationOptions& options, const RandomStreams& streams, Monitor& monitor = silent());

}  // namespace hpm
