// defines: MsaRun, TargetOutcome, TargetAttack, attack_rows(), attack_batches(), verify(), observed_attack(), replay(),
// outcome_of(), add_outcome(), attack_in_rounds(), benign_victims(), collusion()
#pragma once
#include <functional>
#include <memory>

#include "hpm/attacks/autoattack.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/evaluation/msa/msa.h"

namespace hpm {

/// What the parts of one Mixed Surrogate Attack share.
struct MsaRun {
  Defence& defence;
  const ImageSet& images;
  const ThreatModel& threat;
  MsaOptions options;  ///< of the attacks that come next
  Monitor& monitor;
  WorkLog log;
  Observer& observer;
  Evaluation& out;    ///< its attacks are written by every target
  Tensor borderline;  ///< [n] bool: verdicts so near a tie that they were decided again alone

  const DefenceTarget& target(size_t t) const { return defence.targets()[t]; }
};

/// A target's outcome, and that of the mixing weights that judged beside it.
struct TargetOutcome {
  ContextOutcome outcome;
  std::vector<SweepOutcome> sweep;
};

/// A target under attack. Targets are attacked one after the other, and every iterate is judged for all of them: only
/// when the last one has been attacked is it known what broke the first.
class TargetAttack {
 public:
  virtual ~TargetAttack() = default;
  virtual void begin() = 0;  ///< verdicts on the images as they are; what comes first
  virtual void attack() = 0;
  /// Signs that the attacks by gradient did not tell the truth; none where they are not looked for.
  virtual std::vector<AlarmResult> alarms() { return {}; }
  virtual TargetOutcome finish() = 0;
};

/// A target of independent rows: survivors are repacked.
std::unique_ptr<TargetAttack> attack_rows(const MsaRun& run, size_t target);
/// A target whose fixed batches are one object each: the worst composed batch counts. What broke single images of
/// other targets is composed too.
std::unique_ptr<TargetAttack> attack_batches(const MsaRun& run, size_t target);

/// The verdicts of a target of independent rows, from a fresh float32 pass over versions of the evaluation's images.
FreshVerdict verify(const MsaRun& run, size_t target, const ImageSet& images);

/// A piece of work (WorkLog): what `attack()` gives, its cost, and the images that meanwhile were the first to break
/// theirs for each of the targets.
NamedTensors observed_attack(const MsaRun& run, const AttackModel& attacked,
                             const std::function<NamedTensors()>& attack);
/// Brings the observer and the record to where they were after that piece.
void replay(const MsaRun& run, const NamedTensors& done, AttackRecord& record);

/// What a planned surrogate did, before it did anything.
SurrogateOutcome outcome_of(const PlannedStep& step);
/// Where an evaluation goes on with other attacks, a surrogate may attack again: the new outcome, which counts what it
/// broke before too, takes the place of the old one. Of `first`, the sum counts.
void add_outcome(SurrogateOutcome outcome, std::vector<SurrogateOutcome>& all);

/// Attacks a whole batch in rounds (Surrogate::adapt): what each round found is told to the surrogate before the next
/// one. Gives the version of the batch with the fewest correct predictions.
Tensor attack_in_rounds(const MsaRun& run, AttackedDefence& attacked, const Images& batch, const AttackSpec& spec,
                        const RandomStreams& streams);

/// What malicious neighbours do to the untouched images of a target whose batches are one object, in each number asked
/// for; none where no batch has so many.
std::vector<BenignOutcome> benign_victims(const MsaRun& run, size_t target);

/// What colluding neighbours do to single images of a target whose batches are one object. Victims' images that were
/// found are judged for the other targets too.
std::vector<CollusionOutcome> collusion(const MsaRun& run, size_t target);

}  // namespace hpm
