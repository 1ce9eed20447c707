// defines: GauntletResult, GauntletResults, summary_of(), gauntlet_results(), gauntlet_json(), read_gauntlet(),
// gauntlet_page()
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "hpm/evaluation/protocols.h"
#include "hpm/gauntlet/gauntlet.h"

namespace hpm {

/// A row of the gauntlet in numbers; accuracies in percent.
struct GauntletResult {
  struct Flag {
    std::string check, cause, detail;
  };
  /// MSA with every surrogate but one, and with that one and the defence's own gradient alone.
  struct Part {
    std::string surrogate;
    double without = 0, with_own = 0;
  };
  std::string name, mechanism, source;
  bool honest = false;
  int64_t n = 0;  ///< images
  double clean = 0, careless = 0, autoattack = 0, msa = 0, truth = 0;
  std::vector<std::string> causes;  ///< what a flag must name
  std::vector<Flag> flagged;
  bool msa_tells_the_truth = false, flagged_rightly = false, passed = false;
  int64_t planted = 0, found = 0;  ///< binarisation self-test of the same evaluation: adversarial images
  bool self_test_failed = false;
  std::string own;                  ///< the surrogate that is the defence's own gradient
  double own_alone = 0;             ///< MSA by that surrogate alone
  double naive = 0;                 ///< the same, of an evaluation that takes the defence for an ordinary network
  std::vector<std::string> alarms;  ///< that fired in that evaluation
  std::vector<Part> parts;
  double seconds = 0;
};

GauntletResult summary_of(const GauntletRow& row);

struct GauntletResults {
  std::vector<GauntletResult> rows;
  std::vector<std::string> failures;  ///< why a defence has no row, one sentence each
};
/// run_gauntlet() with each defence a piece of work: rows that are in the log already are taken from there, and several
/// processes share them. A defence that fails has no row; where the log holds its failure it is tried again.
GauntletResults gauntlet_results(const GauntletSetting& setting, const GauntletOptions& options, const Work& work);

/// {"schema": 1, "rows": [...]}.
std::string gauntlet_json(const std::vector<GauntletResult>& rows);
/// Throws Error, naming `where`, for something else.
std::vector<GauntletResult> read_gauntlet(std::string_view json, const std::string& where);

/// A page with the table and a picture: what is claimed of each defence against the truth.
std::string gauntlet_page(const std::vector<GauntletResult>& rows, const std::string& setting);

}  // namespace hpm
