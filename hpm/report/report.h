// defines: write_report(), write_analysis_charts()
#pragma once
#include <string>
#include <vector>

namespace hpm {

/// Reads the runs and writes the page, complete or not at all.
void write_report(const std::vector<std::string>& run_directories, const std::string& html_path,
                  const std::string& title = {});

/// The charts of a run of hpm analyze as SVG files in its directory.
void write_analysis_charts(const std::string& run_directory);

}  // namespace hpm
