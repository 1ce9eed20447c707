// defines: ReportOptions, write_report(), TableOptions, write_table(), is_report_file(), write_analysis_charts()
#pragma once
#include <string>
#include <vector>

namespace hpm {

struct ReportOptions {
  std::string title = {};                ///< headline; empty: made from what was evaluated
  std::vector<std::string> labels = {};  ///< what the runs are called, one each; empty: their roles or files
  /// The run that the others are compared with, image by image: its folder, label or title. Empty: from eight runs on
  /// the first that was attacked, else none.
  std::string reference = {};
};

/// Reads the runs and writes the page, complete or not at all.
void write_report(const std::vector<std::string>& run_directories, const std::string& html_path,
                  const ReportOptions& options = {});

struct TableOptions {
  std::string caption = {};              ///< of LaTeX and Markdown; empty: made from data, norm, eps and protocol
  std::vector<std::string> labels = {};  ///< as ReportOptions
};

/// The side-by-side table of the runs for a paper or a page of one's own: `path` ends in .md (Markdown), .tex (LaTeX
/// with booktabs) or .csv (every figure in a column of its own, one line for each model and context).
void write_table(const std::vector<std::string>& run_directories, const std::string& path,
                 const TableOptions& options = {});

/// Whether the file is a page or a table that these functions wrote.
bool is_report_file(const std::string& path);

/// The charts of a run of hpm analyze as SVG files in its directory.
void write_analysis_charts(const std::string& run_directory);

}  // namespace hpm
