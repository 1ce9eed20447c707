// defines: CheckGuide, check_guides(), advice_for(), meaning_of_check()
#pragma once
#include <string>
#include <vector>

namespace hpm {

/// What a check asks of an evaluation, and what to do next where it failed. Plain sentences in ASCII.
struct CheckGuide {
  const char *name, *meaning, *advice;  ///< `name` as in CheckOutcome
};

/// One entry for each check, in the order in which they run. The program, the report and docs/checks.md show these
/// words and no others.
const std::vector<CheckGuide>& check_guides();

/// What to do next where the check `name` failed; "" for a check that this version does not know.
std::string advice_for(const std::string& name);
/// What the check `name` asks, and what its failure would mean; "" for an unknown one.
std::string meaning_of_check(const std::string& name);

}  // namespace hpm
