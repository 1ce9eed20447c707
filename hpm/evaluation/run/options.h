// defines: EvaluationOptions, fields(), setting_notes(), check_options(), require_shareable()
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/pgd.h"
#include "hpm/core/device.h"
#include "hpm/core/fields.h"
#include "hpm/defences/defence_options.h"
#include "hpm/evaluation/checks.h"
#include "hpm/evaluation/fast/fast.h"
#include "hpm/evaluation/msa/plan.h"

namespace hpm {

/// Everything that decides how a model is evaluated, as `hpm evaluate` reads it; docs/evaluation.md explains each.
struct EvaluationOptions {
  std::string norm = "Linf";
  std::string eps = "8/255";  ///< a radius, or several for a curve; the first is the one headlined
  std::string protocol = "msa";
  std::string version;  ///< of msa and autoattack; empty: the protocol's default
  std::vector<std::string> attacks;
  std::optional<int64_t> steps, restarts, targets, queries;
  std::optional<double> step_size;
  std::string loss = "ce";
  std::vector<std::string> contexts{"reference"};
  std::optional<double> lambda;
  std::vector<double> sweep;
  std::vector<double> colluders, malicious, company_sizes;
  int64_t victims = 100;
  int64_t company = 128;
  uint64_t company_seed = 0, seed = 0;
  std::vector<std::string> surrogates, joint_surrogates;
  std::string base, control;            ///< files of the peers; whoever loads the models reads them
  std::string coupling = "rows";        ///< of a model without a head: batch, where an answer depends on its batch
  std::string company_order = "given";  ///< of the batches of such a model: class, sorted by class
  std::vector<std::string> bpda;        ///< NAME=identity or NAME=FILE; whoever loads the model makes the surrogate
  std::vector<std::string> surrogate_files;  ///< TorchScript files of the user's own surrogates; likewise
  bool full_matrix = false, transfer_only = false, conformance = false, save_adversarial = false, quantise = false,
       random = false;
  bool no_escalate = false;
  std::string self_test = "none";
  std::optional<int64_t> sample;
  std::optional<double> time_limit;  ///< seconds
  std::string checks = "basic";
  std::string role;  ///< how a comparison calls the run
  ComputeOptions compute;

  std::vector<ThreatModel> radii() const;  ///< the list `eps`
  bool is(const char* name) const { return protocol == name; }
  bool has_context(const std::string& name) const;
  bool coupled() const { return coupling == "batch"; }
  bool has_peers() const { return !base.empty() || !control.empty(); }
  /// The contexts to evaluate: those asked for, and what the version of msa brings along.
  std::vector<std::string> evaluated_contexts() const;
  std::string effective_version() const;  ///< the version asked for, or the protocol's default; "" where it has none
  /// Sizes of the batches in which a batch-dependent defence is attacked beside its own: those asked for; 1, 8 and 128
  /// in the versions standard and plus of msa; none where no context joint is evaluated.
  std::vector<int64_t> composition_sizes() const;
  bool has_square() const;        ///< whether Square is among the attacks asked for
  bool attacks_anything() const;  ///< some radius is above 0, and the protocol attacks
  /// The attacks in words: runs with equal words had equal budgets and can be compared. `own_surrogates`: names of the
  /// user's surrogates; `search`: the precision of the search.
  std::string budget(const std::vector<std::string>& own_surrogates, const std::string& search) const;

  MsaOptions msa() const;
  AutoAttackOptions autoattack() const;
  PgdOptions pgd() const;
  FastOptions fast() const;
  CheckOptions check_options() const;
  DefenceOptions defence() const;  ///< without peers and surrogates of the user's own
};

void fields(Fields& f, EvaluationOptions& options);

/// What the settings make of a run that a reader of its results must know, a line each.
std::vector<std::string> setting_notes(const EvaluationOptions& options);

/// Throws UsageError for options that contradict each other. What has no effect is told to `has_no_effect(option,
/// reason)`. `has_head`: the model has an HPM head.
void check_options(const EvaluationOptions& options, bool has_head,
                   const std::function<void(const std::string&, const std::string&)>& has_no_effect);

/// Throws UsageError for what only one process can do.
void require_shareable(const EvaluationOptions& options);

}  // namespace hpm
