// defines: GauntletResult, GauntletMutation, mutations_of(), summary_of(), gauntlet_json(), read_gauntlet(),
// gauntlet_page()
#pragma once
#include <string>
#include <string_view>
#include <vector>

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
    bool told_without = false, told_with_own = false;  ///< at most one point above the truth
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
  std::vector<Part> parts;
  double seconds = 0;
};

/// The gauntlet with one surrogate, or one check, turned off: the rows that depend on it.
struct GauntletMutation {
  std::string name, kind;                ///< kind: "surrogate" or "check"
  std::vector<std::string> carried;      ///< surrogate: rows that it tells with the own gradient, which does not alone
  std::vector<std::string> rows;         ///< surrogate: MSA no longer tells the truth; check: no right flag is left
  std::vector<std::string> failed_rows;  ///< of these: nothing else saves the row
};

/// Every surrogate and every check that flagged a row, turned off one at a time. Exact: every surrogate attacked every
/// image, and a check does nothing but flag.
std::vector<GauntletMutation> mutations_of(const std::vector<GauntletResult>& rows);

GauntletResult summary_of(const GauntletRow& row);

/// {"schema": 1, "rows": [...]}.
std::string gauntlet_json(const std::vector<GauntletResult>& rows);
/// Throws Error, naming `where`, for something else.
std::vector<GauntletResult> read_gauntlet(std::string_view json, const std::string& where);

/// A page with the table and a picture: what is claimed of each defence against the truth.
std::string gauntlet_page(const std::vector<GauntletResult>& rows, const std::string& setting);

}  // namespace hpm
