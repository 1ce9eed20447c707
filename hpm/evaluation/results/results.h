// defines: ResultsInput, run_results(), write_run()
#pragma once
#include <optional>
#include <string>

#include "hpm/core/norms.h"
#include "hpm/data/dataset.h"
#include "hpm/evaluation/evaluation.h"
#include "hpm/evaluation/results/run_directory.h"
#include "hpm/evaluation/results/run_results.h"
#include "hpm/prototypes/model.h"

namespace hpm {

/// Another model evaluated on the same images, for the paired comparison.
struct PeerResult {
  std::string name, file;  ///< "control", path
  Evaluation evaluation;
};

struct RadiusOutcome {
  double eps, robust_accuracy, standard_error;
};

/// Everything that results.json tells (docs/results-format.md).
struct ResultsInput {
  const HpmModel& model;
  const Dataset& data;
  const ImageSet& images;
  const ThreatModel& threat;
  const Evaluation& evaluation;
  std::string role, protocol, version;
  std::string budget = {};  ///< the attacks in words: runs with other budgets are not compared
  int64_t first_index = 0;
  bool indices_given = false;
  int64_t company_size = 0;
  uint64_t company_seed = 0, seed = 0;
  std::optional<PeerResult> base = {}, control = {};
  std::vector<RadiusOutcome> curve = {};
  int64_t gallery = 24;      ///< images kept in gallery.safetensors
  std::string config = {};   ///< JSON of the options
  std::string started = {};  ///< UTC, ISO 8601
};

/// The results as plain values, rounded to six decimals.
RunResults run_results(const ResultsInput& input);

/// Writes verdicts.safetensors, gallery.safetensors and results.json; gives the text of the last.
std::string write_run(const RunDirectory& run, const ResultsInput& input);

}  // namespace hpm
