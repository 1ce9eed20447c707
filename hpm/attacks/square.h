// defines: SquareOptions, SquareRun, square(), square_run(), square_share()
#pragma once
#include "hpm/attacks/attack_runs.h"
#include "hpm/attacks/budget.h"
#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"

namespace hpm {

/// Square Attack (Andriushchenko, Croce, Flammarion and Hein, "Square Attack: a query-efficient black-box adversarial
/// attack via random search", ECCV 2020, arXiv:1912.00049, Algorithms 1 to 3; the L1 version: Croce and Hein, "Mind the
/// box", ICML 2021, arXiv:2103.01208). Needs predictions alone.
struct SquareOptions {
  int64_t queries = 5000;  ///< random windows tried per image and restart
  int64_t restarts = 1;
  double share = .8;              ///< p, the share of the image that the first windows cover
  bool rescale_schedule = false;  ///< stretch the schedule of p, made for 10,000 queries, to `queries`
  bool conformance = false;  ///< the authors' draws: windows shared by all active images; their bookkeeping of ties
  int64_t compaction = 0;    ///< see compaction_period
  std::string stream = "square";  ///< names the random streams
};

struct SquareRun {
  Tensor best;     ///< [N,C,H,W]: the image with the smallest margin
  Tensor broken;   ///< [N] bool: the prediction at `best` was wrong; in conformance: the margin was not positive
  Tensor queries;  ///< [N] int64: passes each image has had, the start's included
};

/// One run of random search. In the default mode each image has its own windows and colours, which depend on the seed,
/// the image's number and the iteration alone.
SquareRun square_run(AttackModel& model, const Images& images, const ThreatModel& threat, const SquareOptions& options,
                     const RandomStreams& streams, int64_t restart = 0, Monitor& monitor = silent());

/// Square from all its starts (attack_in_runs). With Coupling::batch a candidate is a whole batch, which is accepted
/// where its sum of margins falls.
AttackResult square(AttackModel& model, const Images& images, const ThreatModel& threat, const SquareOptions& options,
                    const RandomStreams& streams, Monitor& monitor = silent());

/// What square() takes for an image that it does not break.
AttackBudget budget_of(const SquareOptions& options);

/// The share p of the image that a window covers in iteration i = 0, 1, ...: halved after 10, 50, 200, 500, 1000, 2000,
/// 4000, 6000 and 8000.
double square_share(int64_t iteration, const SquareOptions& options);

}  // namespace hpm
