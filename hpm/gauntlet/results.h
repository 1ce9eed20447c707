// defines: GauntletResult, summary_of(), gauntlet_json(), read_gauntlet(), gauntlet_page()
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
  std::string name, mechanism, source;
  bool honest = false;
  int64_t n = 0;  ///< images
  double clean = 0, careless = 0, autoattack = 0, msa = 0, truth = 0;
  std::vector<std::string> causes;  ///< what a flag must name
  std::vector<Flag> flagged;
  bool msa_tells_the_truth = false, flagged_rightly = false, passed = false;
  double seconds = 0;
};

GauntletResult summary_of(const GauntletRow& row);

/// {"schema": 1, "rows": [...]}.
std::string gauntlet_json(const std::vector<GauntletResult>& rows);
/// Throws Error, naming `where`, for something else.
std::vector<GauntletResult> read_gauntlet(std::string_view json, const std::string& where);

/// A page with the table and a picture: what is claimed of each defence against the truth.
std::string gauntlet_page(const std::vector<GauntletResult>& rows, const std::string& setting);

}  // namespace hpm
