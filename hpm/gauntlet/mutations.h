// defines: GuardKind, Mutation, mutation_table(), guards_of(), MutationOutcome, outcome_of(), mutation_outcomes()
#pragma once
#include <string>
#include <vector>

#include "hpm/gauntlet/results.h"

namespace hpm {

/// What keeps an evaluation from being fooled.
enum class GuardKind {
  surrogate,  ///< of the Mixed Surrogate Attack
  check,      ///< of its result
  alarm,      ///< of the protocol fast
};
std::string to_string(GuardKind kind);  ///< "surrogate", "check" or "alarm"

/// A guard, and a row of the gauntlet that rests on it. The evaluation of this defence is narrowed to the defence's own
/// gradient and this guard. Then a check must flag the defence with a right cause, an alarm must fire, and a surrogate
/// must take away at least half of what the own gradient flatters the defence by. Without the guard the row must fail:
/// the own gradient alone leaves more than one point above the truth, and nothing is flagged.
struct Mutation {
  GuardKind kind;
  std::string guard;     ///< its name
  std::string defence;   ///< of gauntlet_table(); empty where no row can rest on it
  std::string why_none;  ///< why none can
};

/// Every surrogate of a defence that is not HPM's, the leading ones of HPM's, every check and every alarm. One that is
/// added has to be added here, with a row that rests on it.
const std::vector<Mutation>& mutation_table();

/// The guards of a kind that `defence` is the row for.
std::vector<std::string> guards_of(const std::string& defence, GuardKind kind);

/// A mutation in the results of a gauntlet.
struct MutationOutcome {
  Mutation mutation;
  double truth = 0, with = 0, without = 0;  ///< robust accuracy, percent: with the guard, and without it
  bool passes_with = false;                 ///< the row, narrowed to the own gradient and the guard
  bool fails_without = false;
  bool caught() const { return passes_with && fails_without; }
};

/// What the row `row` says of a mutation. Exact: every surrogate attacked every image, and neither checks nor alarms
/// change a verdict.
MutationOutcome outcome_of(const Mutation& mutation, const GauntletResult& row);

/// Those of the table whose row is among `rows`.
std::vector<MutationOutcome> mutation_outcomes(const std::vector<GauntletResult>& rows);

}  // namespace hpm
