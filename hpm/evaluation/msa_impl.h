// defines: Clean, clean_pass(), run_attack(), judged_attack(), MsaRun, ContextRun, ContextAttack
#pragma once
#include <functional>
#include <memory>

#include "hpm/evaluation/msa.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {

/// Features and FC logits of the images as they are, from one pass in fixed chunks. Kept in the log: another number of
/// threads on resume could move a neighbour's prediction, and with it everyone's verdict.
struct Clean {
  Tensor z, o;  ///< [n,D], [n,K]
};
Clean clean_pass(const HpmModel& model, const ImageSet& images, int64_t batch_size, const WorkLog& log);

/// Runs an attack of the table, with the operations of a search.
AttackResult run_attack(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                        const RandomStreams& streams, Monitor& monitor);

/// A seed of its own for each surrogate and context, so that the same attack starts elsewhere.
uint64_t seed_of(const MsaOptions& options, const std::string& surrogate, ContextKind context = ContextKind::reference);

/// A piece of work (WorkLog): what `attack()` gives, its cost, and the images that meanwhile were the first to break
/// theirs for each of the judge's targets.
NamedTensors judged_attack(Judge& judge, const AttackModel& attacked, const std::function<NamedTensors()>& attack);
/// Brings judge and record to where they were after it.
void take_over(const NamedTensors& done, Judge& judge, AttackRecord& record);

/// Everything the two halves of the protocol share.
struct MsaRun {
  const HpmModel& model;
  const Peers& peers;
  const ImageSet& images;
  const ThreatModel& threat;
  const MsaOptions& options;
  const Clean& clean;
  std::shared_ptr<const Company> company;
  std::vector<std::shared_ptr<const Company>> draws;  // where solo-eot was asked for
  Monitor& monitor;
  const WorkLog& log;
  Evaluation& out;     ///< its attacks are written by both halves
  Tensor borderline;   ///< [n] bool: judged again alone
  double scale_o = 1;  ///< standard deviation of the clean FC logits

  std::vector<PlannedStep> plan(ContextKind context) const {
    return planned_steps(options, threat.norm, *model.head, peers, context);
  }
};

/// A context's outcome, and that of its other lambdas.
struct ContextRun {
  ContextOutcome outcome;
  std::vector<SweepOutcome> sweep;
};

/// A context under attack. Contexts are attacked one after the other, and every iterate is judged for all of them: only
/// when the last one has been attacked is it known what broke the first.
class ContextAttack {
 public:
  virtual ~ContextAttack() = default;
  virtual void attack() = 0;
  virtual ContextRun finish() = 0;
};

/// Target `target` of the judge, a context of independent rows: survivors are repacked. `swept`: the judge's targets of
/// the same context with the sweep's lambdas.
std::unique_ptr<ContextAttack> rows_under_attack(const MsaRun& run, Judge& judge, size_t target,
                                                 std::vector<size_t> swept);
/// The context joint: fixed batches, the worst composed batch counts. What broke images in other contexts is composed
/// too.
std::unique_ptr<ContextAttack> joint_under_attack(const MsaRun& run, Judge& judge, size_t target,
                                                  std::vector<size_t> swept);
/// What colluding neighbours do to single images of the context joint. Victims' images that were found are judged in
/// the other contexts too.
std::vector<CollusionOutcome> collusion(const MsaRun& run, Judge& judge);

}  // namespace hpm
