// defines: compare_flags(), Comparison, ModelRow, compare_runs()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/report/results_impl.h"

namespace hpm {

/// Ours against theirs on the same images.
PairedModel compare_flags(const Flags& ours, const Flags& theirs);

/// With lambda = 1 nothing is dynamic: whatever the context, it is the l2 classifier.
inline constexpr const char* kEveryContext = "every context";

/// One line of the side-by-side table.
struct ModelRow {
  std::string role = {}, title = {};
  std::string context = {};        ///< kEveryContext where all are one classifier
  std::optional<size_t> run = {};  ///< of Comparison::runs; absent: known from another run's comparison alone
  std::optional<double> clean = {}, robust = {}, gap = {}, joint_any = {};
  std::optional<Interval> clean_interval = {}, interval = {};
  std::optional<PairedModel> control =
      {};  ///< against the control; absent for the control itself and for a suspect pair
  bool subject = false, suspect = false;
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
