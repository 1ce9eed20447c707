// defines: AnalysisInput, analysis_json(), write_analysis()
#pragma once
#include <string>

#include "hpm/data/dataset.h"
#include "hpm/evaluation/analysis/analysis.h"
#include "hpm/evaluation/results/run_directory.h"

namespace hpm {

/// Everything that analysis.json tells (docs/analysis.md).
struct AnalysisInput {
  const HpmModel& model;
  const Dataset& data;
  const Tensor &labels, &index;  ///< [n] int64, of the images
  const ThreatModel& threat;
  const AnalysisOptions& options;
  const Analysis& analysis;
  int64_t first_index = 0;
  bool indices_given = false;
  std::string config = {};   ///< JSON of the options
  std::string started = {};  ///< UTC, ISO 8601
};

std::string analysis_json(const AnalysisInput& input);

/// Writes analysis.json and the CSV files.
void write_analysis(const RunDirectory& run, const AnalysisInput& input);

}  // namespace hpm
