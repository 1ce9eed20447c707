// defines: EvaluationOptions, UnusedOption, EvaluatedModel, check_options(), setting_notes(), use_official_computing(),
// require_shareable()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/pgd.h"
#include "hpm/core/device.h"
#include "hpm/core/fields.h"
#include "hpm/defences/defence_options.h"
#include "hpm/evaluation/checks/checks.h"
#include "hpm/evaluation/fast/fast.h"
#include "hpm/evaluation/msa/plan.h"

namespace hpm {

/// Everything that decides how a model is evaluated, as `hpm evaluate` reads it; docs/evaluation.md explains each. Each
/// part declares its own options. What several protocols read (seed, batch size, version, settings) stands here: the
/// parts get it when their protocol runs, and setting it in a part is refused.
struct EvaluationOptions {
  std::string norm = "Linf";
  std::string eps = "8/255";  ///< a radius, or several for a curve; the first is the one headlined
  std::string protocol = "msa";
  std::string version;      ///< of msa and autoattack; empty: the protocol's default
  AttackSettings settings;  ///< in place of the attacks' own, of every protocol
  PgdOptions pgd;
  AutoAttackOptions autoattack;
  AlarmOptions alarms;
  MsaOptions msa;
  CheckOptions checks;
  std::vector<std::string> contexts{"reference"};
  std::optional<double> lambda;
  std::vector<double> sweep;
  std::vector<int64_t> company_sizes;
  int64_t company = 128;
  uint64_t company_seed = 0, seed = 0;
  std::string base, control;            ///< files of the peers; whoever loads the models reads them
  std::string coupling = "rows";        ///< of a model without a head: batch, where an answer depends on its batch
  std::string company_order = "given";  ///< of the batches of such a model: class, sorted by class
  std::vector<std::string> bpda;        ///< NAME=identity or NAME=FILE; whoever loads the model makes the surrogate
  std::vector<std::string> surrogate_files;  ///< TorchScript files of the user's own surrogates; likewise
  bool transfer_only = false, save_adversarial = false, quantise = false, random = false;
  std::string self_test = "none";
  std::optional<double> time_limit;  ///< seconds
  std::string role;                  ///< how a comparison calls the run
  ComputeOptions compute;

  std::vector<ThreatModel> radii() const;  ///< the list `eps`
  bool is(const char* name) const { return protocol == name; }
  bool has_context(const std::string& name) const;
  bool coupled() const { return coupling == "batch"; }
  bool names_peers() const { return !base.empty() || !control.empty(); }  ///< files of them
  /// The contexts to evaluate: those asked for, and what the version of msa brings along.
  std::vector<std::string> evaluated_contexts() const;
  std::string effective_version() const;  ///< the version asked for, or the protocol's default; "" where it has none
  /// Sizes of the batches in which a batch-dependent defence is attacked beside its own: those asked for; 1, 8 and 128
  /// in the versions standard and plus of msa; none where no context joint is evaluated.
  std::vector<int64_t> composition_sizes() const;
  bool has_queries() const;       ///< whether Square or RayS is among the attacks asked for
  bool attacks_anything() const;  ///< some radius is above 0, and the protocol attacks
  /// The attacks in words: runs with equal words had equal budgets and can be compared. `own_surrogates`: names of the
  /// user's surrogates; `search`: the precision of the search.
  std::string budget(const std::vector<std::string>& own_surrogates, const std::string& search) const;

  // What each protocol runs with.
  MsaOptions for_msa() const;
  AutoAttackOptions for_autoattack() const;
  PgdOptions for_pgd() const;
  FastOptions for_fast() const;
  CheckOptions for_checks() const;
  DefenceOptions for_defence() const;  ///< without peers and surrogates of the user's own
};

void fields(Fields& f, EvaluationOptions& options);

/// What the settings make of a run that a reader of its results must know, a line each.
std::vector<std::string> setting_notes(const EvaluationOptions& options);

/// An option that has no effect beside the others, and why.
struct UnusedOption {
  std::string name, why;
};

/// What the options meet.
struct EvaluatedModel {
  bool has_head = false;     ///< the model has an HPM head
  bool own_defence = false;  ///< or a defence of the caller's own stands in its place
  bool has_peers = false;    ///< there is a base or a control
};

/// Throws UsageError for options that contradict each other. Gives those that have no effect; whoever knows which of
/// them were given warns of these. (plan_evaluation() calls it.)
std::vector<UnusedOption> check_options(const EvaluationOptions& options, const EvaluatedModel& model);

/// The official code's bits are those of one thread and batches of 250: with conformance these are the values of what
/// was not given.
void use_official_computing(const Fields& declared, EvaluationOptions& options);

/// Throws UsageError for what only one process can do.
void require_shareable(const EvaluationOptions& options);

}  // namespace hpm
