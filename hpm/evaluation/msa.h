// defines: MsaOptions, MsaStep, msa_plan(), estimate_passes(), msa()
#pragma once
#include "hpm/attacks/sequence.h"
#include "hpm/evaluation/evaluation.h"
#include "hpm/prototypes/model.h"
#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// The Mixed Surrogate Attack: several differentiable stand-ins, several attacks, every iterate judged by the true
/// prediction, and the worst case (K. Wang, arXiv:2606.01746).
struct MsaOptions {
  std::string version = "quick";  ///< quick, standard or plus
  std::vector<std::string> contexts = {"reference"};
  std::vector<std::string> surrogates = {};  ///< none: the version's
  std::vector<std::string> joint_surrogates = {};  ///< of the context joint; none: as `surrogates`
  int64_t company_size = 128;
  uint64_t company_seed = 0;
  uint64_t seed = 0;
  int64_t batch_size = 256;
  bool full_matrix = false;  ///< every surrogate on every correctly classified image, not the survivors alone
};

/// A surrogate with its attacks, in the order they run. "region" stands for APGD on the surrogate's own objective.
struct MsaStep {
  std::string surrogate;
  std::vector<AttackSpec> attacks;
};
/// The plan of a version for a threat model: each surrogate that `options` names, or the version's own. Without a head the plain
/// model is attacked with as many restarts as an HPM model has white-box surrogates in the version.
std::vector<MsaStep> msa_plan(const MsaOptions& options, Norm norm, int64_t classes, bool has_head);

/// Image passes (forward and backward) for an image that survives everything, summed over contexts: the cost before the
/// start is at most this times n.
Passes estimate_passes(const HpmModel& model, const Peers& peers, const ThreatModel& threat, const MsaOptions& options);

/// Runs the protocol. Images that are broken for a context stay broken there, whoever found it: iterates are judged in all
/// of the asked row-wise contexts at once. A model without an HPM head is attacked directly with the same attacks.
Evaluation msa(const HpmModel& model, const Peers& peers, const Images& images, const ThreatModel& threat,
               const MsaOptions& options, Monitor& monitor = silent());

}  // namespace hpm
