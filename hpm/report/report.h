// defines: write_report(), write_table(), write_analysis_charts()
#pragma once
#include <string>
#include <vector>

namespace hpm {

/// Reads the runs and writes the page, complete or not at all.
void write_report(const std::vector<std::string>& run_directories, const std::string& html_path,
                  const std::string& title = {});

/// The side-by-side table of the runs for a paper or a page of one's own: `path` ends in .md (Markdown), .tex (LaTeX
/// with booktabs) or .csv (every figure in a column of its own, one line for each model and context).
void write_table(const std::vector<std::string>& run_directories, const std::string& path);

/// The charts of a run of hpm analyze as SVG files in its directory.
void write_analysis_charts(const std::string& run_directory);

}  // namespace hpm
