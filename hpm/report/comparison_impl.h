// defines: compare_flags(), same_evaluation(), Comparison, ModelRow, compare_runs(), is_overview()
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

/// Whether the figures of two runs can be compared: the same images, the same threat, the same budget.
bool same_evaluation(const ReportedRun& a, const ReportedRun& b);

/// From so many runs on the page begins with an overview, and the parts of each run are folded away.
inline constexpr size_t kManyRuns = 8;

/// With lambda = 1 nothing is dynamic: whatever the context, it is the l2 classifier.
inline constexpr const char* kEveryContext = "every context";

/// One line of the side-by-side table.
struct ModelRow {
  std::string role = {}, title = {};
  std::string context = {};        ///< kEveryContext where all are one classifier
  std::optional<size_t> run = {};  ///< of Comparison::runs; absent: known from another run's comparison alone
  std::optional<double> clean = {}, robust = {}, gap = {}, joint_any = {};
  std::optional<Interval> clean_interval = {}, interval = {};
  std::optional<PairedModel> control = {};    ///< against the control; absent for the control itself
  std::optional<PairedModel> reference = {};  ///< against the reference; absent for the reference itself
  bool subject = false, suspect = false;
  bool doubtful = false;            ///< the comparison with the control: this run or the control is suspect
  bool reference_doubtful = false;  ///< the same of the reference
};

/// Several runs side by side: base, control, l2, HPM.
struct Comparison {
  std::vector<ReportedRun> runs;    ///< in that order; each with its paired control filled in where flags allow it
  std::vector<size_t> subjects;     ///< the runs that are judged: HPM, else l2, else those that are not base or control
  std::optional<size_t> control;    ///< the run of role control
  std::optional<size_t> reference;  ///< the run that all others are compared with on the images they share
  std::vector<ModelRow> rows;
  std::vector<std::string> warnings;  ///< what makes the runs not comparable
  bool has_heads = false;             ///< one of the models is HPM or l2: base and control are its FC models
};
/// `reference` names a run by its directory as it was given, its label, its title or its folder. "": from kManyRuns
/// runs on the first that was attacked, else none. Throws UsageError for a name that no run has, or several.
Comparison compare_runs(std::vector<ReportedRun> runs, const std::string& reference = {});

/// Whether so many runs are compared that the page begins with an overview.
inline bool is_overview(const Comparison& c) { return c.runs.size() >= kManyRuns; }

/// "HPM", "l2"; beside one of these "FC, base" and "FC, control", otherwise "NAME (base)"; NAME for other roles.
std::string role_title(const std::string& role, const std::string& name, bool has_heads);
/// The colour class of a role: t-base, t-control, t-l2, t-hpm, t-other.
std::string role_tone(const std::string& role);

}  // namespace hpm
