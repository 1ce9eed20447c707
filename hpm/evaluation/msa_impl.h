// defines: Clean, clean_pass(), judged_predictions(), run_attack(), msa_rows(), msa_joint()
#pragma once
#include "hpm/evaluation/msa.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {

/// Features and FC logits of the images as they are, from one pass in fixed chunks.
struct Clean {
  Tensor z, o;  ///< [n,D], [n,K]
};
Clean clean_pass(const HpmModel& model, const Images& images, int64_t batch_size);

/// Runs an attack of the table, or APGD on the surrogate's own objective for "region".
AttackResult run_attack(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                        const RandomStreams& streams, Monitor& monitor);

/// Streams of their own for each surrogate, so that the same attack starts elsewhere.
RandomStreams streams_of(const MsaOptions& options, const std::string& surrogate);

/// Everything the two halves of the protocol share.
struct MsaRun {
  const HpmModel& model;
  const Peers& peers;
  const Images& images;
  const ThreatModel& threat;
  const MsaOptions& options;
  const Clean& clean;
  std::shared_ptr<const Company> company;
  Monitor& monitor;
  Evaluation& out;
  double scale_o = 1;  ///< standard deviation of the clean FC logits
};

/// The contexts reference, alone and solo: rows are independent, survivors are repacked.
void msa_rows(const MsaRun& run, const std::vector<ContextKind>& kinds);
/// The context joint: fixed batches, the worst composed batch counts.
void msa_joint(const MsaRun& run);

}  // namespace hpm
