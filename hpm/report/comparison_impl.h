// defines: compare_flags(), Comparison, ModelRow, compare_runs()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/report/results_impl.h"

namespace hpm {

/// Ours against theirs on the same images.
PairedModel compare_flags(const Flags& ours, const Flags& theirs);

/// What a paired comparison shows: the one rule that headline, badge, table and chart follow.
enum class Difference { not_tested, not_detectable, gain, loss };
/// A gain or a loss is a difference whose 95 % interval excludes 0 and whose McNemar p is under .05.
Difference difference_of(const PairedModel& paired);

/// With lambda = 1 nothing is dynamic: whatever the context, it is the l2 classifier.
inline constexpr const char* kEveryContext = "every context";

/// One line of the side-by-side table.
struct ModelRow {
  std::string role = {}, title = {};
  std::string context = {};        ///< kEveryContext where all are one classifier
  std::optional<size_t> run = {};  ///< of Comparison::runs; absent: known from another run's comparison alone
  std::optional<double> clean = {}, robust = {}, gap = {}, joint_any = {};
  std::optional<Interval> clean_interval = {}, interval = {};
  std::optional<PairedModel> control = {};  ///< against the control; absent for the control itself
  bool subject = false, suspect = false;
  bool doubtful = false;  ///< the comparison: this run or the control is suspect
};

/// Several runs side by side: base, control, l2, HPM.
struct Comparison {
  std::vector<ReportedRun> runs;  ///< in that order; each with its paired control filled in where flags allow it
  std::vector<size_t> subjects;   ///< the runs that are judged: HPM, else l2, else those that are not base or control
  std::optional<size_t> control;  ///< the run of role control
  std::vector<ModelRow> rows;
  std::vector<std::string> warnings;  ///< what makes the runs not comparable
  bool has_heads = false;             ///< one of the models is HPM or l2: base and control are its FC models
};
Comparison compare_runs(std::vector<ReportedRun> runs);

/// "HPM", "l2"; beside one of these "FC, base" and "FC, control", otherwise "NAME (base)"; NAME for other roles.
std::string role_title(const std::string& role, const std::string& name, bool has_heads);
/// The colour class of a role: t-base, t-control, t-l2, t-hpm, t-other.
std::string role_tone(const std::string& role);

}  // namespace hpm
