// The CSV files of an analysis run.
#pragma once
#include "hpm/evaluation/analysis/analysis_results.h"

namespace hpm {

void write_csv_files(const RunDirectory& run, const AnalysisInput& input);

}  // namespace hpm
