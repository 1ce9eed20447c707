// defines: EvaluateOptions, declare(), check_options()
#pragma once
#include "command_line.h"
#include "hpm/attacks/autoattack.h"
#include "hpm/evaluation/fingerprint.h"
#include "hpm/evaluation/msa.h"
#include "options.h"

namespace hpm::app {

/// The flags of hpm evaluate, and what they ask of a protocol.
struct EvaluateOptions {
  ModelOptions model;
  DataOptions data;
  ThreatOptions threat;
  std::string protocol = "msa", version, role, base, control, checks = "basic";
  std::vector<std::string> attacks, contexts{"reference"}, surrogates, joint_surrogates, own_surrogates;
  std::optional<double> lambda;
  std::vector<double> sweep;
  std::vector<double> colluders;
  int64_t victims = 100;
  int64_t company = 128;
  uint64_t company_seed = 0, seed = 0;
  bool full_matrix = false, transfer_only = false, conformance = false, save_adversarial = false, quantise = false,
       random = false;
  std::optional<int64_t> steps, restarts, targets, queries;
  std::optional<double> step_size;
  std::string loss = "ce";
  ComputeOptions compute;

  bool is_msa() const { return protocol == "msa"; }
  bool has_context(const std::string& name) const;
  std::string effective_version() const;  ///< the version asked for, or the protocol's default; "" where it has none
  std::string budget(at::ScalarType search) const;  ///< the attacks in words, equal for equal budgets
  bool has_square() const;                          ///< whether Square is among the attacks asked for
  MsaOptions msa(const std::vector<std::string>& contexts) const;
  AutoAttackOptions autoattack() const;
};

void declare(Fields& f, EvaluateOptions& o);
/// What the settings probably do not mean, or make superfluous: a line each.
std::vector<std::string> setting_notes(const EvaluateOptions& o, const std::vector<ThreatModel>& radii);
/// What a run depends on, as far as the options tell: resolved, and without paths, device and precision.
Fingerprint option_fingerprint(const EvaluateOptions& o, const Fields& fields, const std::vector<ThreatModel>& radii);
/// Warns of options without effect, refuses those that contradict each other.
void check_options(const EvaluateOptions& o, CommandLine& line);

}  // namespace hpm::app
