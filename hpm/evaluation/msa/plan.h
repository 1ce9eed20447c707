// defines: MsaOptions, PlannedStep, msa_plan(), msa_contexts(), msa_passes()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/sequence.h"
#include "hpm/defences/defence.h"
#include "hpm/evaluation/fast/alarms.h"
#include "hpm/evaluation/msa/benign.h"
#include "hpm/evaluation/msa/collusion.h"

namespace hpm {

/// The Mixed Surrogate Attack: several differentiable stand-ins for a prediction, several attacks on each, every
/// iterate judged by the true prediction, and the worst case (K. Wang, arXiv:2606.01746).
struct MsaOptions {
  std::string version = "quick";                   ///< fast, quick, standard or plus
  std::vector<std::string> surrogates = {};        ///< none: the version's
  std::vector<std::string> joint_surrogates = {};  ///< of a target whose batch is one object; none: as `surrogates`
  uint64_t seed = 0;
  int64_t batch_size = 256;
  AttackSettings settings = {};     ///< in place of the version's; restarts multiply its starts
  AlarmOptions alarms = {};         ///< version fast: after an alarm the attacks of version standard follow
  bool full_matrix = false;         ///< every surrogate on every correctly classified image, not on survivors alone
  CollusionOptions collusion = {};  ///< of the context joint
  BenignOptions benign = {};        ///< likewise
};
void fields(Fields& f, MsaOptions& o);  ///< surrogates, joint-surrogates, full-matrix, colluders, victims, malicious

/// The contexts to evaluate: those asked for; with version plus, solo brings solo-eot along (expectation over the
/// company).
std::vector<std::string> msa_contexts(const std::vector<std::string>& asked, const std::string& version);

/// A surrogate of a target with its attacks, in the order in which they run.
struct PlannedStep {
  Surrogate surrogate;
  std::vector<AttackSpec> attacks;
  std::string same_as = {};  ///< the surrogate whose restarts it became: it does not run itself
  bool runs() const { return same_as.empty() && surrogate.unavailable.empty(); }
};

/// What attacks a target. Surrogates that give the same logits there run once, as restarts of the first of them. All
/// white-box surrogates together start each attack at least Defence::starts() times; where one of them has the target's
/// exact gradient, that one alone does. Throws UsageError where nothing could be attacked with.
std::vector<PlannedStep> msa_plan(const Defence& defence, size_t target, Norm norm, const MsaOptions& options);

/// Image passes (forward and backward) for an image that survives everything, summed over the targets, clean verdicts
/// included: n images cost at most n times this. (Nearly tied verdicts that are judged again alone, and the fresh
/// passes that confirm breaks, come on top.)
Passes msa_passes(const Defence& defence, Norm norm, const MsaOptions& options);

/// A line for each planned attack whose loss needs more classes than the defence has: what it uses instead.
std::vector<std::string> few_classes_notes(const Defence& defence, Norm norm, const MsaOptions& options);

/// A seed of its own for each surrogate and target, by their names, so that the same attack starts elsewhere.
uint64_t seed_of(const MsaOptions& options, const std::string& surrogate, const std::string& target);

}  // namespace hpm
