// defines: Purposes, AttackRun, RunFound, RunAim, RunPasses, AttackRuns, RunPlan, attack_in_runs(), WorstBatch,
// start_noise(), ranked_target(),
//          SurrogateTargets, surrogate_targets()
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/attacks/finite_answers.h"
#include "hpm/core/norms.h"
#include "hpm/core/random.h"

namespace hpm {

/// What the random numbers of a run are for: one purpose; or several, of runs that are made at once. Then Images::run
/// is the place of a row's purpose.
using Purposes = std::vector<Purpose>;

/// One run of an attack: some images, from one start, towards one class each. Or several runs at once: each has its
/// rows, and an image has a row in each.
struct AttackRun {
  Images images;     ///< [M]: the images not broken yet; with Coupling::batch always the whole batch
  Tensor rows;       ///< [M] int64: their places among the images under attack
  Tensor targets;    ///< [M] int64: the class that each row is driven to; undefined in untargeted runs
  int64_t rank = 0;  ///< of `targets` among the target model's clean logits, 1 is the largest; 0: another ranking's, or
                     ///< several runs
  Purposes purposes;  ///< of the random numbers: which restart, which target
  const Purpose& purpose() const { return purposes.front(); }
};

/// What a run found.
struct RunFound {
  Tensor images;       ///< [M,C,H,W]
  Tensor broken;       ///< [M] bool: the target model is wrong at `images`
  Tensor margin = {};  ///< [M]: see AttackResult::margin; may be undefined
  /// Of a coupled batch: `broken` are the predictions for `images` as one batch. Otherwise the broken rows were seen in
  /// different batches; the driver puts them together with the originals of the other rows and asks the model.
  bool together = true;
  /// [M] bool (CPU): the same as `broken`, where the search knows it there already; may be undefined.
  Tensor known = {};
};

/// What a run is to do.
struct RunAim {
  Purpose purpose;
  Tensor targets = {};  ///< [N]: undefined in untargeted runs
  int64_t rank = 0;     ///< see AttackRun
  Tensor only = {};     ///< [N] bool: the rows to attack; undefined: all
};

/// How an attack passes its rows.
struct RunPasses {
  int64_t compaction = 0;  ///< see compaction_period
  /// Where few images are left, APGD, FAB-T and the relaxation attack make several runs at once, in so many rows at
  /// most (on the CPU in 64 at most: more rows make a pass no cheaper there). 0: one run after the other. An image
  /// leaves all of them when one breaks it. So its verdict is the same, but another run may be the one that breaks it,
  /// and runs that would have come later may have asked about some points for nothing. Random models, coupled batches,
  /// targets that share iterates, and images of which two have the same number get one run after the other.
  int64_t at_once = 0;
};

/// Drives the runs of an attack; every attack uses it. Each run gets the images that no run before has broken. Images
/// that the model already misclassifies count as broken and are returned unchanged. With Coupling::batch every run gets
/// the whole batch, and the composed batch with the fewest correct predictions is the result.
class AttackRuns {
 public:
  using Run = std::function<RunFound(AttackModel&, const AttackRun&)>;
  /// Passes over the originals, where their logits are not known, and begins the attack's random streams. `attack`
  /// names it in error messages; `images` must outlive this object.
  AttackRuns(AttackModel& model, const Images& images, const std::string& attack, const RandomStreams& streams,
             const RunPasses& passes = {});
  /// One run after the other, in the order of `aims`, or several at once.
  void operator()(const Run& run, const std::vector<RunAim>& aims);
  AttackModel& model() { return model_; }                  ///< refuses answers that are not finite
  const Tensor& clean() const { return clean_; }           ///< [N,K]: the target's logits at the originals
  const Tensor& broken() const { return result_.broken; }  ///< [N] bool: so far
  AttackResult finish();

 private:
  struct Block {  // a run among those made at once
    const RunAim* aim;
    Tensor places;  // [m] int64 (CPU): its rows' places among the images
  };
  Tensor rows_to_attack(const Tensor& only);
  AttackRun run_of(const std::vector<Block>& blocks) const;
  void take(const std::vector<Block>& blocks, const AttackRun& run, const RunFound& found);
  void take(const Tensor& rows, const Tensor& places, const RunFound& found);
  void take_batch(const RunFound& found);
  void note_margin(const Tensor& rows, const Tensor& margin);

  FiniteAnswers model_;
  const Images& images_;
  const bool coupled_;
  const int64_t at_once_;
  Tensor clean_;
  AttackResult result_;
  Tensor known_;  // [N] bool (CPU): result_.broken, where it was read
};

/// The runs of most attacks: all restarts towards one target after the other.
struct RunPlan {
  std::string attack;              ///< names the random streams, and the attack in error messages
  int64_t restarts = 1;            ///< runs per target
  int64_t targets = 0;             ///< target classes, by the target model's clean logits; 0: an untargeted attack
  int64_t first_rank = 2;          ///< of the first target: 2 is the runner-up
  bool surrogate_ranking = false;  ///< also aim at the classes that the surrogate ranks as high
  RunPasses passes = {};
};
AttackResult attack_in_runs(AttackModel& model, const Images& images, const RunPlan& plan, const RandomStreams& streams,
                            const AttackRuns::Run& run);

/// Of the versions of a coupled batch that a run has seen, the one with the fewest correct predictions; the first of
/// these where several have equally many.
class WorstBatch {
 public:
  /// x [N,C,H,W], wrong [N] bool: whether the target's prediction for each row of this batch is wrong.
  void see(const Tensor& x, const Tensor& wrong);
  Tensor images, wrong;

 private:
  Tensor most_wrong_;  // how many, no dimensions
};

/// The noise that random starts are scaled from: uniform in [-1,1] for Linf, normal for L2 and L1. [N,C,H,W].
Tensor start_noise(const Images& images, Norm norm, const RandomStreams& streams, const Purposes& purposes);
Tensor start_noise(const Images& images, Norm norm, const RandomStreams& streams, const Purpose& purpose);

/// The class with the (rank)th largest logit in each row; rank 2 is the runner-up. [N,K] -> [N].
Tensor ranked_target(const Tensor& logits, int64_t rank);

/// Extra target classes: those that the surrogate ranks high and the target model does not.
struct SurrogateTargets {
  Tensor classes;  ///< [N]. Rows without an extra class repeat the target model's class of the same rank, because a
                   ///< coupled batch must keep all its rows.
  Tensor fresh;    ///< [N] bool (CPU): the row has an extra class
};
/// One entry for each of the surrogate's ranks 2 .. targets+1. The true class counts as the surrogate's first. `clean`
/// [N,K]: the target model's logits. Empty where the model has no surrogate logits, or where every class is a target.
std::vector<SurrogateTargets> surrogate_targets(AttackModel& model, const Images& images, const Tensor& clean,
                                                int64_t targets);

}  // namespace hpm
