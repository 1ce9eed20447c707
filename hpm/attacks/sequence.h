// defines: AttackSpec, AttackSettings, AttackEntry, attack_table(), attack_entry(), asks_for_gradients(),
//          seeks_boundary(), SurrogateRanking, passes_of(), ReadyAttack, ready(), SequenceRequest, AttackSequence,
//          autoattack_sequence()
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/attacks/budget.h"
#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"

namespace hpm {

class Fields;
struct PgdOptions;

/// One attack of a sequence with its settings. An attack reads those that it has.
struct AttackSpec {
  std::string name;     ///< of attack_table()
  int64_t steps = 100;  ///< gradient steps per restart (and target); of relaxation at most so many, 150 by default
  int64_t restarts = 1;
  int64_t targets = 9;        ///< of targeted attacks
  int64_t queries = 5000;     ///< of Square
  int64_t eot = 1;            ///< gradients averaged per step
  bool large_radius = false;  ///< of APGD, L1
  bool conformance = false;   ///< draws, passes and operations of the official code
  int64_t at_once = 0;        ///< see RunPasses; drivers set it to their batch size. Not in conformance
  int64_t classes = 10;       ///< of the model, which prices untargeted FAB; autoattack_sequence() sets it
};

/// What the user gives in place of the attacks' own settings. Each attack reads those that it has.
struct AttackSettings {
  std::optional<int64_t> steps = {};     ///< gradient steps per restart
  std::optional<int64_t> restarts = {};  ///< random starts; of the Mixed Surrogate Attack: times the version's
  std::optional<int64_t> targets = {};   ///< of targeted attacks; the Mixed Surrogate Attack keeps the version's
  std::optional<int64_t> queries = {};   ///< of Square and RayS
  bool operator==(const AttackSettings&) const = default;
};
void fields(Fields& f, AttackSettings& o);

/// An attack that a sequence can name.
struct AttackEntry {
  std::string name;
  std::string summary;  ///< one line for the help
  AttackResult (*run)(AttackModel&, const Images&, const ThreatModel&, const AttackSpec&, const RandomStreams&,
                      Monitor&);
  AttackBudget (*budget)(const AttackSpec&);
  bool targeted = false;           ///< reads AttackSpec::targets
  bool surrogate_ranking = false;  ///< also aims at the classes that a surrogate ranks high (surrogate_targets)
  bool queries = false;            ///< asks for predictions alone: reads AttackSpec::queries instead of steps
  bool single_images = false;      ///< cannot attack a batch that is one object (Coupling::batch)
  bool objective = false;          ///< differentiates the surrogate's own objective (LossKind::own): needs one
  bool boundary = false;           ///< seeks the nearest adversarial image, whatever the radius: FAB
  int64_t classes = 2;             ///< fewer need another loss, which the attack then takes
  int64_t restarts = 1;            ///< of version custom
  bool repeats = true;  ///< the Mixed Surrogate Attack starts it once a white-box surrogate; else once in all
  int64_t steps = 100;  ///< of version custom
};

/// All attacks that a sequence can name; the one table a new one is added to.
const std::vector<AttackEntry>& attack_table();
/// The attack of that name. Throws UsageError, with the nearest known name, for an unknown one.
const AttackEntry& attack_entry(const std::string& name);

/// False for an attack of the table that asks for predictions alone.
bool asks_for_gradients(const std::string& attack);
/// True for an attack of the table that seeks the nearest adversarial image: FAB.
bool seeks_boundary(const std::string& attack);

/// What the ranking of a surrogate that has logits may add to an attack's targets.
struct SurrogateRanking {
  bool ranks = false;                  ///< there is such a surrogate
  Coupling coupling = Coupling::rows;  ///< a coupled batch is attacked as a whole wherever one row has another target
  int64_t classes = 0;                 ///< of the model
};

/// Image passes of the attack for an image that survives it, at most; with the pass over the original and the verdict
/// on what the attack returns.
Passes passes_of(const AttackSpec& spec, const SurrogateRanking& surrogate = {});

/// An attack with its settings, ready to run on a chunk of images.
struct ReadyAttack {
  std::string name;
  AttackBudget budget;  ///< for an image that survives
  std::function<AttackResult(AttackModel&, const Images&, const ThreatModel&, const RandomStreams&, Monitor&)> run;
};

/// An attack of the table; it searches with SearchOperations.
ReadyAttack ready(const AttackSpec& spec);
/// PGD, which is not in the table.
ReadyAttack ready(const PgdOptions& options);

/// What to run. `version`: standard, plus or rand (Croce and Hein, arXiv:2003.01690; L1: arXiv:2103.01208), or custom:
/// the attacks named, with the settings of the official code's constructor.
struct SequenceRequest {
  std::string version = "standard";
  Norm norm = Norm::linf;
  int64_t classes = 10;
  std::vector<std::string> custom = {};  ///< of version custom
  AttackSettings settings = {};
};

struct AttackSequence {
  std::vector<AttackSpec> attacks;
  std::vector<std::string> notes;  ///< where settings are not the version's, and why
  bool changed = false;            ///< the user gave settings in place of the version's
};

/// The attacks of a version, in order, with their settings. Throws UsageError for an unknown version or attack, and for
/// an attack that needs more than a network's logits.
AttackSequence autoattack_sequence(const SequenceRequest& request);
/// Image passes of a whole sequence for an image that survives it, at most.
Passes passes_of(const AttackSequence& sequence);

}  // namespace hpm
