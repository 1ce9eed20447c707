// defines: ReportedRun, parse_results(), check_document()
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hpm/evaluation/results/run_results.h"
#include "hpm/report/numbers.h"

namespace hpm {

/// A run as a report shows it: its results, with what older files leave out filled in, and its place among the others.
struct ReportedRun : RunResults {
  std::string name;       ///< of the model: its role where that is a name, else its file's
  int64_t classes = 0;    ///< of the labels and the model
  std::string directory;  ///< the run directory as the caller named it; set by the caller
  std::string folder;     ///< the run directory's name; set by the caller
  std::string label;      ///< what the user calls the run, empty: nothing; set by the caller
  std::string title;      ///< what a comparison calls the run; set by compare_runs
  size_t source = 0;      ///< which of the runs given to the report; set by the caller

  /// `contexts` is never empty here: the first holds the run's own figures.
  const ContextResult& headline() const { return contexts.front(); }
};

/// From this gap (points) on a report speaks of masked gradients; below, STE nearly finds the worst case.
inline constexpr double kMaskedGradients = 1.0;

/// Why the checks make a run suspect: its own reasons, or the checks that failed. Empty: nothing does, unless
/// `suspect`.
std::vector<std::string> suspicions(const RunResults& run);
bool is_suspect(const RunResults& run);
/// The names of the checks that failed, each once.
std::vector<std::string> failed_checks(const RunResults& run);

/// base, control, l2 or hpm: the roles that a comparison understands. Any other is a name.
bool is_known_role(const std::string& role);
/// A short name for the model in a file: its name, with the folder's before it where every run has that file name.
std::string file_title(const std::string& path);

/// Throws Error for a document that no run of hpm writes: nested deeper than kDeepest, or with a count beyond
/// kLargestCount (seeds aside, which are any 64 bits).
void check_document(const nlohmann::json& json, const std::string& where);
inline constexpr int kDeepest = 64;
inline constexpr int64_t kLargestCount = 1'000'000'000'000;

/// Reads results.json, or what analysis.json has in common with it. Throws Error as read_results does, and for
/// accuracies that are no percentages.
ReportedRun parse_results(const nlohmann::json& json, const std::string& where);

}  // namespace hpm
