// defines: AttackingChecks
#pragma once
#include <algorithm>

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/fab.h"
#include "hpm/attacks/square.h"
#include "hpm/evaluation/checks/check_view_impl.h"
#include "hpm/evaluation/checks/first_finds_impl.h"

namespace hpm {

/// The checks that attack once more. Each fails where the model's answers are not finite: no attack can judge it.
class AttackingChecks {
 public:
  explicit AttackingChecks(const CheckView& view) : view_(view), finds_(view) {}

  // What they attack with.
  static ApgdOptions unbounded_attack() { return {.steps = 50, .stream = "check"}; }
  static ApgdOptions convergence_attack() { return {.steps = 200, .stream = "check convergence"}; }
  static SquareOptions final_square() { return {.queries = 1000, .stream = "check square"}; }
  static SquareOptions sampled_square() { return {.queries = 500, .stream = "check sample"}; }
  static FabOptions sampled_fab() { return {.steps = 20, .targets = 3, .at_once = 64, .stream = "check fab"}; }
  /// How many of so many survivors Square on a sample attacks, and how many FAB does.
  static int64_t queried(int64_t survivors) { return std::min(survivors, std::clamp<int64_t>(survivors / 8, 8, 32)); }
  static int64_t walked(int64_t survivors) { return std::min(survivors, std::clamp<int64_t>(survivors / 4, 16, 64)); }

  struct Unbounded {
    CheckOutcome check;
    Tensor images;  ///< [N,C,H,W]: the sample, adversarial where it was broken; undefined where nothing attacked
  };
  /// With the whole box allowed, an attack that sees the gradient breaks everything. On the sample.
  Unbounded unbounded() const;
  /// Four times the iterations should find little more. On all survivors.
  CheckOutcome convergence() const;
  /// What Square broke of what the white-box attacks had left: the evaluation's own, in the level full a thousand
  /// queries more on all survivors.
  CheckOutcome square_after_white_box() const;
  /// A few queries on a few survivors: what breaks here hides from the gradient, wherever it comes from.
  CheckOutcome square_on_a_sample() const;
  /// A short walk to the decision boundary, for some survivors. It follows the gradient too, but lands beside the
  /// boundary where a climb of the loss goes past: among predictions that tie, or that change in narrow gaps.
  CheckOutcome fab_on_a_sample() const;

 private:
  struct Broken {
    int64_t images, survivors;
  };
  using SampledAttack = std::function<AttackResult(const Images& images)>;
  /// How many of so large a sample of so many survivors may break.
  using Allowed = std::function<double(double sample, double survivors)>;
  /// A check that attacks `count` of the survivors.
  struct Sampled {
    std::string name, words;  ///< `words` say how it attacks
    int64_t (*count)(int64_t survivors);
    Allowed most;
  };
  /// Fails where `attack` breaks two images or more, and more than allowed.
  CheckOutcome on_a_sample(const Sampled& check, const SampledAttack& attack) const;
  using Attack = std::function<Tensor(AttackModel& model, const Images& images)>;
  /// How many of the survivors `attack` (-> [N] bool, broken) breaks with any of `models`, and how many there are. In
  /// joint batches are attacked whole, and what counts is how many fewer are right in the worst one found.
  Broken survivors_broken_by(const std::string& name, const std::vector<AttackModel*>& models,
                             const Attack& attack) const;

  const CheckView& view_;
  FirstFinds finds_;
};

}  // namespace hpm
