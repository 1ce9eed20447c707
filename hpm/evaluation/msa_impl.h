// defines: Clean, clean_pass(), run_attack(), judged_attack(), MsaRun, ContextRun, msa_rows(), msa_joint()
#pragma once
#include <functional>

#include "hpm/evaluation/msa.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {

/// Features and FC logits of the images as they are, from one pass in fixed chunks.
struct Clean {
  Tensor z, o;  ///< [n,D], [n,K]
};
Clean clean_pass(const HpmModel& model, const ImageSet& images, int64_t batch_size);

/// Runs an attack of the table, or APGD on the surrogate's own objective for "region".
AttackResult run_attack(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                        const RandomStreams& streams, Monitor& monitor);

/// A seed of its own for each surrogate, so that the same attack starts elsewhere.
uint64_t seed_of(const MsaOptions& options, const std::string& surrogate);

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

/// A context's outcome with the images that stand for it.
struct ContextRun {
  ContextOutcome outcome;
  ImageStore adversarial;              ///< as Evaluation::adversarial
  std::vector<std::string> broken_by;  ///< as Evaluation::broken_by
};

/// The row-wise contexts of the judge's first targets, `attacked` of them: rows are independent, survivors are
/// repacked. The others are judged alone, and come out as SweepOutcomes.
std::vector<ContextRun> msa_rows(const MsaRun& run, Judge& judge, size_t attacked);
/// The context joint: fixed batches, the worst composed batch counts. What `rows` holds (the row-wise contexts'
/// findings; may be null) is tried too.
ContextRun msa_joint(const MsaRun& run, Judge* rows);
/// What colluding neighbours do to single images of the context joint.
std::vector<CollusionOutcome> collusion(const MsaRun& run);

}  // namespace hpm
