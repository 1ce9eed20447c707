// defines: AttackSpec, AttackEntry, attack_table(), AttackSequence, autoattack_sequence()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"

namespace hpm {

/// One attack of a sequence with its settings. An attack reads those that it has.
struct AttackSpec {
  std::string name;     ///< of attack_table()
  int64_t steps = 100;  ///< gradient steps per restart (and target)
  int64_t restarts = 1;
  int64_t targets = 9;        ///< of targeted attacks
  int64_t queries = 5000;     ///< of Square
  int64_t eot = 1;            ///< gradients averaged per step
  bool large_radius = false;  ///< of APGD, L1
  bool conformance = false;   ///< draws, passes and operations of the official code
};

/// An attack that a sequence can name.
struct AttackEntry {
  std::string name;
  std::string summary;  ///< one line for the help
  bool targeted;        ///< reads AttackSpec::targets
  bool queries;         ///< asks for predictions alone: reads AttackSpec::queries instead of steps
  int64_t classes;      ///< fewer need another loss, which it then takes
  int64_t restarts;     ///< of version custom
  AttackResult (*run)(AttackModel&, const Images&, const ThreatModel&, const AttackSpec&, const RandomStreams&,
                      Monitor&);
};

/// All attacks of AutoAttack; the one table a new one is added to.
const std::vector<AttackEntry>& attack_table();
/// The attack of that name. Throws UsageError, with the nearest known name, for an unknown one.
const AttackEntry& attack_entry(const std::string& name);

/// What to run. `version`: standard, plus or rand (Croce and Hein, arXiv:2003.01690; L1: arXiv:2103.01208), or custom:
/// the attacks named, with the settings of the official code's constructor.
struct SequenceRequest {
  std::string version = "standard";
  Norm norm = Norm::linf;
  int64_t classes = 10;
  std::vector<std::string> custom = {};                                          ///< of version custom
  std::optional<int64_t> steps = {}, restarts = {}, targets = {}, queries = {};  ///< replace every attack's own
};

struct AttackSequence {
  std::vector<AttackSpec> attacks;
  std::vector<std::string> notes;  ///< where a model with few classes forces other settings
};

/// The attacks of a version, in order, with their settings.
AttackSequence autoattack_sequence(const SequenceRequest& request);

}  // namespace hpm
