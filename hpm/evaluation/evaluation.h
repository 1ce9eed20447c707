// defines: Evaluation, FastOutcome, ContextOutcome, SurrogateOutcome, AttackRecord, CheckOutcome, percent()
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/autoattack.h"
#include "hpm/defences/finding.h"
#include "hpm/evaluation/results/run_results.h"

namespace hpm {

/// One attack of a sequence, whether or not anything was left for it.
struct AttackRecord {
  std::string name, surrogate, context;  ///< surrogate and context empty for a plain model
  Tensor robust;                         ///< [n] bool: still right after this attack and all before it
  Passes passes;
  double seconds = 0;
  Tensor matrix;  ///< [n] int8: 0 not attacked, 1 held, 2 broken, by this attack alone; undefined outside msa
  bool own_gradient = false;  ///< of a plain model, by msa: the surrogate is the model itself
};

/// What one surrogate did in a context.
struct SurrogateOutcome {
  std::string name, same_as, unavailable;  ///< as of the surrogate
  std::string needs = {};                  ///< the option that would make it run
  std::string summary = {};                ///< what it approximates, one line
  SurrogateKind kind = SurrogateKind::white_box;
  bool leads = false;              ///< what an evaluation with one surrogate would have attacked with
  bool checked = false;            ///< the checks look at it
  bool complete = false;           ///< it attacked every correctly classified image
  int64_t broke = 0, of = 0;       ///< broke so many of the images it was given
  int64_t first = 0;               ///< images that nothing before it had broken
  std::optional<double> accuracy;  ///< percent under this surrogate alone, where complete
};

/// What a victim's batch can do to it (joint).
struct CollusionOutcome {
  int64_t colluders = 0;   ///< neighbours that the attacker controls beside, or instead of, the victim
  bool victim_too = true;  ///< the victim's own image is the attacker's as well
  int64_t victims = 0, broke = 0;
  Tensor broken;  ///< [n] bool: which
};

/// What malicious images do to the untouched ones of their batch (joint).
struct BenignOutcome {
  int64_t malicious = 0;               ///< images of each batch that the attacker controls
  int64_t images = 0;                  ///< untouched ones
  int64_t clean_right = 0, right = 0;  ///< of these, without the attack and under it
  Tensor broken;                       ///< [n] bool: which of them it turned wrong
};

/// One size and order of the batches of a batch-dependent defence.
struct CompositionOutcome {
  int64_t size = 0;       ///< images a batch
  bool by_class = false;  ///< the images are sorted by class before they are cut into batches
  double clean_accuracy = 0, robust_accuracy = 0;
};

/// Whether the attack in use finds adversarial images that were planted (binarisation.h).
struct SelfTestOutcome {
  std::string context;       ///< of the target that was looked at
  std::string attack;        ///< in words
  bool on_features = false;  ///< the readout sees the penultimate features; otherwise the logits
  int64_t images = 0;        ///< looked at
  int64_t solved = 0;        ///< of these, the two-class problem could be made
  int64_t random = 0;        ///< of these, a random point solves it too: they tell nothing
  int64_t found = 0;         ///< of the others, the attack found an adversarial image
  bool votes = false;        ///< the model is random: its figure is reported, not judged
  int64_t tested() const { return solved - random; }
};

struct ContextOutcome {
  std::string context;                             ///< "" for a plain model
  Tensor clean_correct, robust, clean_prediction;  ///< [n]
  std::vector<SurrogateOutcome> surrogates;
  std::string leading = {};                 ///< the surrogate that leads: ste of an HPM model
  std::optional<double> leading_accuracy;   ///< percent, under it alone
  std::optional<double> joint_any;          ///< percent not broken by any attacked batch at any iterate
  std::optional<double> worst_draw;         ///< of solo-eot: percent right in every draw, at every iterate
  std::vector<CollusionOutcome> collusion;  ///< of joint
  std::vector<BenignOutcome> benign;        ///< of joint
  ImageStore adversarial;          ///< adversarial where broken (joint: the worst composed batches), else the original;
                                   ///< undefined for clean
  std::vector<Finding> broken_by;  ///< per image: what broke it first; none where nothing did
  Tensor clean_logits = {};        ///< [n,K] of the prediction; kept by the protocol clean alone
};

/// A mixing weight that the iterates aimed at another were judged by.
struct SweepOutcome {
  std::string context;
  double lambda = 1;
  Tensor clean_correct, robust;  ///< [n]; robust: an upper bound where `attacked` is false
  bool attacked = false;         ///< the attacks were aimed at this one
};

/// Which kind of masking a failed check saw.
enum class Cause {
  none,            ///< it passed, or it tells nothing about the gradient
  zero,            ///< the gradient is zero: rounding, thresholds, an argmax
  scale,           ///< logits so large that the softmax has no gradient
  shattered,       ///< steps or jumps: the gradient tells nothing of a small change
  other_gradient,  ///< a gradient of another function: a straight-through layer, a detach
  random,          ///< the prediction draws random numbers
  batch,           ///< the prediction depends on the other images of its batch
  masked,          ///< an attack that does not follow the gradient found more
  optimiser,       ///< the prediction differentiates something itself, and its gradient does not lead through that
};
std::string to_string(Cause cause);       ///< "" for none, "zero gradient", "scale", ...
std::string surrogates_for(Cause cause);  ///< what to attack such a model with, on the command line

struct CheckOutcome {
  enum class Status { passed, failed, reported, not_run };
  std::string name;
  Status status = Status::not_run;
  std::optional<double> value, limit;
  std::string unit, detail;
  std::string context = {};   ///< of an HPM model
  Cause cause = Cause::none;  ///< of a failure
};

/// What a fast evaluation did beside its verdicts.
struct FastOutcome {
  std::vector<StageResult> stages = {};
  std::vector<AlarmResult> alarms = {};
  bool escalated = false;
  std::optional<BoundResult> bound = {};
  int64_t autoattack_passes = 0;           ///< forward passes that AutoAttack would have taken, about
  std::vector<std::string> fired() const;  ///< the names of the alarms that did
};

/// The outcome of a protocol on n images.
struct Evaluation {
  std::vector<ContextOutcome> contexts;  ///< at least one; the first is the one headlined
  std::vector<AttackRecord> attacks;
  std::vector<SweepOutcome> sweep;
  std::vector<CompositionOutcome> compositions;  ///< of a batch-dependent defence
  std::optional<SelfTestOutcome> self_test;
  Tensor adversarial_prediction;  ///< [n], on the first context's adversarial images
  Tensor quantised_robust;        ///< [n]: still right on those rounded to 8 bits; undefined unless asked for
  int64_t not_finite = 0;         ///< logits on those that are NaN or infinite
  std::vector<CheckOutcome> checks;
  int64_t borderline = 0;
  std::vector<std::string> notes;
  bool changed_settings = false;  ///< of AutoAttack: the user gave settings in place of the version's
  double seconds = 0, checks_seconds = 0;
  std::optional<FastOutcome> fast;            ///< of the protocol fast, and of msa's version fast
  std::optional<double> worst_draw_accuracy;  ///< percent right in all of ten draws; of random models

  const ContextOutcome& first() const { return contexts.front(); }
  bool suspect() const;
  std::vector<std::string> reasons() const;  ///< of suspicion
};

/// The evaluation of a sequence of attacks on independent rows.
Evaluation evaluation_of(AutoAttackResult result, const std::string& context, const std::string& surrogate);

double percent(const Tensor& flags);  ///< share of true in a bool tensor, percent

}  // namespace hpm
