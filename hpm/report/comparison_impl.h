// defines: share_interval(), compare_flags(), Comparison, ModelRow, compare_runs()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/report/results_impl.h"

namespace hpm {

/// Wilson's 95 % interval of a share, in percent.
Interval share_interval(int64_t successes, int64_t n);

/// Ours against theirs on the same images: wins (only ours keeps the image), losses, the difference in points with its
/// 95 % interval (Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics
/// in Medicine 24, 2005: half an image added to each cell), McNemar's exact two-sided p, and the smallest difference
/// that so many images show at 5 % with 80 % power.
PairedModel compare_flags(const Flags& ours, const Flags& theirs);

/// One line of the side-by-side table.
struct ModelRow {
  std::string role = {}, title = {}, context = {};
  std::optional<double> clean = {}, robust = {};
  std::optional<Interval> clean_interval = {}, interval = {};
  std::optional<PairedModel> control =
      {};  ///< against the control; absent for the control itself and for a suspect pair
  bool subject = false, suspect = false;
  bool summary = false;  ///< known only through another run's results.json
};

/// Several runs side by side: base, control, l2, HPM.
struct Comparison {
  std::vector<RunResults> runs;   ///< in that order; each with its paired control filled in where flags allow it
  std::vector<size_t> subjects;   ///< the runs that are judged: HPM, else l2, else those that are not base or control
  std::optional<size_t> control;  ///< the run of role control
  std::vector<ModelRow> rows;
  std::vector<std::string> warnings;  ///< what makes the runs not comparable
};
Comparison compare_runs(std::vector<RunResults> runs);

/// "base (FC)", "control (FC)", "l2", "HPM", or the model's own name.
std::string role_title(const std::string& role, const std::string& name);
/// The colour class of a role: t-base, t-control, t-l2, t-hpm, t-other.
std::string role_tone(const std::string& role);

}  // namespace hpm
