// defines: MsaOptions, msa_contexts(), MsaStep, msa_plan(), PlannedStep, planned_steps(), estimate_passes(), msa()
#pragma once
#include "hpm/attacks/sequence.h"
#include "hpm/evaluation/collusion.h"
#include "hpm/evaluation/evaluation.h"
#include "hpm/io/journal.h"
#include "hpm/prototypes/model.h"
#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// The Mixed Surrogate Attack: several differentiable stand-ins, several attacks, every iterate judged by the true
/// prediction, and the worst case (K. Wang, arXiv:2606.01746).
struct MsaOptions {
  std::string version = "quick";  ///< quick, standard or plus
  std::vector<std::string> contexts = {"reference"};
  std::vector<std::string> surrogates = {};        ///< none: the version's
  std::vector<std::string> joint_surrogates = {};  ///< of the context joint; none: as `surrogates`
  std::vector<std::string> more_surrogates = {};   ///< beside those, in every context
  int64_t company_size = 128;
  uint64_t company_seed = 0;
  uint64_t seed = 0;
  int64_t batch_size = 256;
  int64_t restarts = 1;                 ///< times the version's starts, of every attack that has random ones
  std::optional<int64_t> steps = {};    ///< of every gradient attack, in place of the version's
  std::optional<int64_t> queries = {};  ///< of Square, in place of the version's
  bool full_matrix = false;  ///< every surrogate on every correctly classified image, not the survivors alone
  /// Further mixing weights that every iterate is judged by, in each context asked (with lambda = 1, where joint needs
  /// no run, but in joint). Nothing is aimed at them: their accuracies are upper bounds, and cost a head each.
  std::vector<double> sweep = {};
  CollusionOptions collusion = {};  ///< of the context joint
  /// A model without a head is also attacked through base, control and `more_surrogates`. False for a peer of the model
  /// evaluated: the stand-ins are for that one.
  bool through_stand_ins = true;
  bool differentiable = true;  ///< false for a model without a head that has no gradient: stand-ins and queries alone
};

/// The contexts asked for; with version plus, solo brings solo-eot along: expectation over the company.
std::vector<std::string> msa_contexts(const MsaOptions& options);

/// A surrogate with its attacks, in the order they run. "region" stands for APGD on the surrogate's own objective.
struct MsaStep {
  std::string surrogate;
  std::vector<AttackSpec> attacks;
};
/// The plan of a version for a threat model: each surrogate that `options` names, or the version's own; transfer and
/// queries come last. A model without a head is attacked directly, with as many restarts as the plan has white-box
/// surrogates with logits (so many starts an HPM model gets in every context, and more; of its own gradient where that
/// is exact), and by Square where it is named.
std::vector<MsaStep> msa_plan(const MsaOptions& options, Norm norm, int64_t classes, bool has_head);

/// A step in one context. Surrogates that give the same logits there run once, as restarts of the first of them.
struct PlannedStep {
  std::string surrogate;
  std::vector<AttackSpec> attacks;
  std::string same_as, unavailable;  ///< where it does not run
  bool runs() const { return same_as.empty() && unavailable.empty(); }
};
/// Throws UsageError where nothing could be attacked with.
std::vector<PlannedStep> planned_steps(const MsaOptions& options, Norm norm, const HpmHead& head, const Peers& peers,
                                       ContextKind context);

/// Image passes (forward and backward) for an image that survives everything, summed over contexts, with base and
/// control where they are given and attacked themselves; the cost before the start is at most this times n (nearly tied
/// verdicts, judged again alone, and what confirms the broken ones, come on top).
Passes estimate_passes(const HpmModel& model, const Peers& peers, const ThreatModel& threat, const MsaOptions& options,
                       bool peers_attacked = true);

/// Runs the protocol; contexts come out in the order asked, the first is the one headlined. Images that are broken for
/// a context stay broken there, whoever found it: iterates are judged in all of the asked row-wise contexts at once. A
/// model without an HPM head is attacked directly with the same attacks, and what stands through the stand-ins given.
/// Each chunk of an attack is written to `log`, and taken from there when it was done before.
Evaluation msa(const HpmModel& model, const Peers& peers, const ImageSet& images, const ThreatModel& threat,
               const MsaOptions& options, Monitor& monitor = silent(), const WorkLog& log = {});

}  // namespace hpm
