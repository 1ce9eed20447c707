#include "hpm/report/comparison_impl.h"

#include "hpm/core/error.h"
#include "hpm/core/fields.h"

namespace hpm {
namespace {

int order_of(const std::string& role) {
  const std::vector<std::string> kOrder = {"base", "control", "l2", "hpm"};
  const auto found = std::find(kOrder.begin(), kOrder.end(), role);
  return found == kOrder.end() ? 2 : static_cast<int>(found - kOrder.begin());
}

bool same_images(const ReportedRun& a, const ReportedRun& b) {
  return a.dataset == b.dataset && a.split == b.split && a.n == b.n && a.first_index == b.first_index &&
         a.indices == b.indices && a.labels == b.labels;
}

std::string threat_text(const ReportedRun& run) {
  return run.protocol == "clean" ? "no attack" : fmt::format("{} {}", run.norm, radius_text(run.eps));
}

void note_differences(const ReportedRun& reference, const ReportedRun& run, std::vector<std::string>& warnings) {
  const auto pair = reference.title + " and " + run.title;
  if (!same_images(reference, run))
    warnings.push_back(pair +
                       " were evaluated on different images: their figures are shown, but no difference is "
                       "computed.");
  if (reference.norm != run.norm || reference.eps != run.eps)
    warnings.push_back(fmt::format("{} face different threat models ({} against {}): they cannot be compared.", pair,
                                   threat_text(reference), threat_text(run)));
  else if (reference.budget != run.budget)
    warnings.push_back(
        fmt::format("{} were attacked with different budgets ({} against {}): the one attacked harder "
                    "looks worse than it is, so no difference is computed.",
                    pair, reference.budget, run.budget));
}

bool comparable(const ReportedRun& a, const ReportedRun& b) {
  return same_evaluation(a, b) && !a.headline().robust.empty() && !b.headline().robust.empty();
}

/// Fills in what evaluation did not record, from the flags of the control's own run.
void pair_with_control(ReportedRun& run, const ReportedRun& control, std::vector<std::string>& warnings) {
  for (auto& context : run.contexts) {
    const auto& theirs = control.headline();
    if (context.control && context.control->robust_accuracy && theirs.robust_accuracy &&
        std::abs(*context.control->robust_accuracy - *theirs.robust_accuracy) > .05)
      warnings.push_back(
          fmt::format("{} was compared with a control that keeps {}, while the control's run given here "
                      "keeps {}: they are not the same evaluation.",
                      run.title, percent(*context.control->robust_accuracy), percent(*theirs.robust_accuracy)));
    if (context.control || context.robust.empty() || !comparable(run, control)) continue;
    auto paired = compare_flags(context.robust, theirs.robust);
    paired.name = control.name;
    paired.clean_accuracy = theirs.clean_accuracy;
    context.control = paired;
  }
}

void complete_intervals(ReportedRun& run) {
  const auto fill = [&](std::optional<Interval>& interval, const std::optional<double>& accuracy) {
    if (!interval && accuracy) interval = wilson(std::llround(*accuracy / 100 * static_cast<double>(run.n)), run.n);
  };
  for (auto& context : run.contexts) {
    fill(context.clean_interval, context.clean_accuracy);
    fill(context.interval, context.robust_accuracy);
    auto& paired = context.control;
    if (paired && !paired->difference && context.robust_accuracy && paired->robust_accuracy)
      paired->difference = *context.robust_accuracy - *paired->robust_accuracy;
    if (paired && !paired->smallest_detectable && paired->p) {
      const double discordant = static_cast<double>(paired->wins) + static_cast<double>(paired->losses);
      paired->smallest_detectable = smallest_detectable(
          run.n, std::max(discordant, 1.) / static_cast<double>(run.n));  // as compare_paired has it
    }
    if (context.leading_accuracy && context.robust_accuracy && !context.obfuscation_gap)
      context.obfuscation_gap = *context.leading_accuracy - *context.robust_accuracy;
  }
}

/// "metric learned, lambda 0.9"; "" for a run without a head.
std::string settings_text(const ReportedRun& run) {
  if (!run.model_info.lambda) return "";
  const auto metric = run.model_info.metric.substr(0, run.model_info.metric.find(' '));
  return (metric.empty() ? "" : "metric " + metric + ", ") + fmt::format("lambda {:.3g}", *run.model_info.lambda);
}

/// The user's label; else a title by role, and where two are the same, with what tells the runs apart: their
/// settings, else their folders.
void name_runs(std::vector<ReportedRun>& runs, bool has_heads) {
  const auto shared = [&](auto&& key) {
    return [&, key](const ReportedRun& run) {
      return std::count_if(runs.begin(), runs.end(), [&](const ReportedRun& r) { return key(r) == key(run); }) > 1;
    };
  };
  const auto plain = [&](const ReportedRun& r) { return role_title(r.role, r.name, has_heads); };
  const auto same_title = shared(plain);
  const auto same_settings = shared([&](const ReportedRun& r) { return plain(r) + settings_text(r); });
  for (auto& run : runs) {
    run.title = run.label.empty() ? plain(run) : run.label;
    if (!run.label.empty() || !same_title(run)) continue;
    if (const auto settings = settings_text(run); !settings.empty()) run.title += ", " + settings;
    if (same_settings(run) && run.title != run.folder && !run.folder.empty()) run.title += ", " + run.folder;
  }
}

size_t find_run(const std::vector<ReportedRun>& runs, std::string name) {
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  using Key = std::string ReportedRun::*;
  const Key keys[] = {&ReportedRun::directory, &ReportedRun::label, &ReportedRun::title, &ReportedRun::folder};
  for (const auto key : keys) {
    std::vector<size_t> found;
    for (size_t i = 0; i < runs.size(); ++i)
      if (runs[i].*key == name) found.push_back(i);
    if (found.size() == 1) return found.front();
    if (found.size() > 1)
      fail_usage("report: needs a reference that is one run, but \"{}\" names {} of them; give its folder's path", name,
                 found.size());
  }
  std::vector<std::string> names;
  for (const auto& run : runs) names.insert(names.end(), {run.title, run.folder});
  const auto nearest = nearest_name(name, names);
  fail_usage("report: no run is called \"{}\"{}; a reference is named by its folder, its label or its title", name,
             nearest.empty() ? "" : " (did you mean \"" + nearest + "\"?)");
}

std::optional<size_t> choose_reference(const Comparison& c, const std::string& name) {
  if (!name.empty()) return find_run(c.runs, name);
  std::optional<size_t> first;
  if (!is_overview(c)) return first;
  for (size_t i = 0; i < c.runs.size(); ++i)
    if (!c.runs[i].headline().robust.empty() && (!first || c.runs[i].source < c.runs[*first].source)) first = i;
  return first;
}

void choose_subjects(Comparison& c) {
  const auto choose = [&](auto&& wanted) {
    std::vector<size_t> chosen;
    for (size_t i = 0; i < c.runs.size(); ++i)
      if (wanted(c.runs[i])) chosen.push_back(i);
    return chosen;
  };
  const auto controls = choose([](const ReportedRun& r) { return r.role == "control"; });
  if (!controls.empty()) c.control = controls.front();
  c.subjects = choose([](const ReportedRun& r) { return r.role == "hpm"; });
  if (c.subjects.empty()) c.subjects = choose([](const ReportedRun& r) { return r.role == "l2"; });
  if (c.subjects.empty())
    c.subjects = choose([](const ReportedRun& r) { return r.role != "base" && r.role != "control"; });
  if (c.subjects.empty()) c.subjects.push_back(c.control.value_or(0));
}

ModelRow summary_row(const std::string& role, const PairedModel& model, int64_t n, bool has_heads) {
  const auto file = file_title(model.file);
  ModelRow row{.role = role,
               .title = role_title(role, file.empty() ? model.name : file, has_heads),
               .clean = model.clean_accuracy,
               .robust = model.robust_accuracy};
  const auto interval = [&](std::optional<double> accuracy) -> std::optional<Interval> {
    if (!accuracy) return std::nullopt;
    return wilson(std::llround(*accuracy / 100 * static_cast<double>(n)), n);
  };
  row.clean_interval = interval(row.clean), row.interval = interval(row.robust);
  return row;
}

/// The row of a context of run `i`. The reference itself is its first context.
void pair_with_reference(const Comparison& c, size_t i, const ContextResult& context, ModelRow& row) {
  if (!c.reference || context.robust.empty()) return;
  const auto& run = c.runs[i];
  const auto& reference = c.runs[*c.reference];
  if (&context == &reference.headline() || !comparable(run, reference)) return;
  row.reference = compare_flags(context.robust, reference.headline().robust);
  row.reference_doubtful = is_suspect(run) || is_suspect(reference);
}

void collect_rows(Comparison& c) {
  const auto has_role = [&](const std::string& role) {
    return std::any_of(c.runs.begin(), c.runs.end(), [&](const ReportedRun& run) { return run.role == role; });
  };
  for (size_t i : c.subjects) {
    const auto& run = c.runs[i];
    if (run.base && !has_role("base")) c.rows.push_back(summary_row("base", *run.base, run.n, c.has_heads));
    if (run.headline().control && !has_role("control"))
      c.rows.push_back(summary_row("control", *run.headline().control, run.n, c.has_heads));
    if (!c.rows.empty()) break;
  }
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& run = c.runs[i];
    const bool one = run.contexts.size() > 1 && run.model_info.lambda == 1.;
    for (const auto& context : run.contexts) {
      if (one && &context != &run.headline()) continue;
      ModelRow row{.role = run.role,
                   .title = run.title,
                   .context = one ? kEveryContext : context.context,
                   .run = i,
                   .clean = context.clean_accuracy,
                   .robust = context.robust_accuracy,
                   .gap = context.obfuscation_gap,
                   .joint_any = context.joint_any,
                   .clean_interval = context.clean_interval,
                   .interval = context.interval};
      row.suspect = is_suspect(run);
      row.doubtful = row.suspect || (c.control && is_suspect(c.runs[*c.control]));
      if (run.role != "control") row.control = context.control;
      pair_with_reference(c, i, context, row);
      row.subject = std::find(c.subjects.begin(), c.subjects.end(), i) != c.subjects.end();
      c.rows.push_back(row);
    }
  }
  std::stable_sort(c.rows.begin(), c.rows.end(),
                   [](const ModelRow& a, const ModelRow& b) { return order_of(a.role) < order_of(b.role); });
}

}  // namespace

bool same_evaluation(const ReportedRun& a, const ReportedRun& b) {
  return same_images(a, b) && a.norm == b.norm && a.eps == b.eps && a.budget == b.budget;
}

PairedModel compare_flags(const Flags& ours, const Flags& theirs) {
  require(ours.size() == theirs.size() && !ours.empty(),
          "compare_flags: needs flags for the same images, but got {} and {}", ours.size(), theirs.size());
  int64_t kept = 0, wins = 0, losses = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    kept += theirs[i];
    wins += ours[i] > theirs[i];
    losses += theirs[i] > ours[i];
  }
  const auto n = static_cast<int64_t>(ours.size());
  const auto paired = compare_paired(wins, losses, n);
  return {.robust_accuracy = 100 * static_cast<double>(kept) / static_cast<double>(n),
          .difference = paired.difference,
          .wins = wins,
          .losses = losses,
          .p = paired.p,
          .difference_interval = paired.interval,
          .smallest_detectable = paired.detectable};
}

Comparison compare_runs(std::vector<ReportedRun> runs, const std::string& reference) {
  require(!runs.empty(), "compare_runs: needs at least one run, but got none");
  Comparison c;
  std::stable_sort(runs.begin(), runs.end(),
                   [](const ReportedRun& a, const ReportedRun& b) { return order_of(a.role) < order_of(b.role); });
  c.runs = std::move(runs);
  c.has_heads = std::any_of(c.runs.begin(), c.runs.end(), [](const ReportedRun& run) {
    return run.role == "hpm" || run.role == "l2" || run.model_info.head == "hpm" || run.model_info.head == "l2";
  });
  name_runs(c.runs, c.has_heads);
  choose_subjects(c);
  c.reference = choose_reference(c, reference);
  const auto& other = c.runs[c.reference.value_or(c.subjects.front())];
  if (c.reference && other.headline().robust.empty())
    c.warnings.push_back(other.title + " was not attacked, or its results hold no flags: nothing is compared with it.");
  for (auto& run : c.runs)
    if (&run != &other) note_differences(other, run, c.warnings);
  for (auto& run : c.runs) {
    if (c.control && &run != &c.runs[*c.control]) pair_with_control(run, c.runs[*c.control], c.warnings);
    complete_intervals(run);
  }
  collect_rows(c);
  return c;
}

Difference difference_of(const PairedModel& m) {
  if (!m.p && !m.difference_interval) return Difference::not_tested;
  const bool by_test = !m.p || *m.p < .05;
  const bool by_interval = !m.difference_interval || m.difference_interval->low > 0 || m.difference_interval->high < 0;
  const double d = m.difference.value_or(0);
  if (!by_test || !by_interval || d == 0) return Difference::not_detectable;
  return d > 0 ? Difference::gain : Difference::loss;
}

std::string role_title(const std::string& role, const std::string& name, bool has_heads) {
  if (role == "base" || role == "control") return has_heads ? "FC, " + role : fmt::format("{} ({})", name, role);
  if (role == "l2") return "l2";
  if (role == "hpm") return "HPM";
  return name;
}

std::string role_tone(const std::string& role) {
  for (const char* known : {"base", "control", "l2", "hpm"})
    if (role == known) return std::string("t-") + known;
  return "t-other";
}

}  // namespace hpm
