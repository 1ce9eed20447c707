// defines: RaysOptions, rays(), budget_of()
#pragma once
#include "hpm/attacks/attack_runs.h"
#include "hpm/attacks/budget.h"
#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"

namespace hpm {

/// RayS (Chen and Gu, "RayS: a ray searching method for hard-label adversarial attack", KDD 2020, arXiv:2006.12792):
/// needs the predicted label alone, so that nothing a defence does to its scores can mislead it.
///
/// It searches the direction d in {-1, 1}^(C H W) along which the prediction changes at the smallest radius r, where
/// x + r d is clipped to the box. Level s cuts the pixels into 2^s blocks of neighbours; block after block, d with the
/// block's signs turned is tried: one query at the best radius so far, and where the prediction is wrong there too, a
/// bisection for the smaller radius. An image is broken as soon as r is within eps. For L2 and L1 the radius is the
/// norm of r d before the clipping.
struct RaysOptions {
  int64_t queries = 5000;  ///< per image and restart
  int64_t restarts = 1;    ///< the first starts at d = 1, further ones at random signs
  std::string stream = "rays";
};

/// AttackResult of the search. Throws UsageError for a model whose batch is one object: it follows single images.
AttackResult rays(AttackModel& model, const Images& images, const ThreatModel& threat, const RaysOptions& options,
                  const RandomStreams& streams, Monitor& monitor = silent());

/// What rays() takes for an image that it does not break.
AttackBudget budget_of(const RaysOptions& options);

}  // namespace hpm
