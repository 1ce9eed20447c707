#include "hpm/report/comparison_impl.h"

#include "hpm/core/error.h"

namespace hpm {
namespace {

/// Both tails of a binomial(wins + losses, 1/2), exact.
double mcnemar_p(int64_t wins, int64_t losses) {
  const auto n = static_cast<double>(wins + losses);
  const auto k = std::min(wins, losses);
  if (wins + losses == 0) return 1;
  double tail = 0;
  for (int64_t i = 0; i <= k; ++i) {
    const auto x = static_cast<double>(i);
    tail += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) - n * std::log(2.));
  }
  return std::min(1., 2 * tail);
}

/// At least six images must differ, all one way, before the exact test can reach 5 %.
double smallest_detectable(int64_t discordant, int64_t n) {
  const auto d = static_cast<double>(std::max<int64_t>(discordant, 1)), total = static_cast<double>(n);
  return 100 * std::max((1.96 + .8416) * std::sqrt(d) / total, 6 / total);
}

int order_of(const std::string& role) {
  const std::vector<std::string> kOrder = {"base", "control", "l2", "hpm"};
  const auto found = std::find(kOrder.begin(), kOrder.end(), role);
  return found == kOrder.end() ? 2 : static_cast<int>(found - kOrder.begin());
}

bool same_images(const RunResults& a, const RunResults& b) {
  return a.dataset == b.dataset && a.split == b.split && a.n == b.n && a.first_index == b.first_index &&
         a.indices == b.indices && a.labels == b.labels;
}

std::string threat_text(const RunResults& run) {
  return run.protocol == "clean" ? "no attack" : fmt::format("{} {}", run.norm, radius_text(run.eps));
}

std::string budget_text(const RunResults& run) { return run.protocol + (run.version.empty() ? "" : " " + run.version); }

void note_differences(const RunResults& reference, const RunResults& run, std::vector<std::string>& warnings) {
  const auto pair = reference.title + " and " + run.title;
  if (!same_images(reference, run))
    warnings.push_back(pair +
                       " were evaluated on different images: their figures are shown, but no difference is "
                       "computed.");
  if (reference.norm != run.norm || reference.eps != run.eps)
    warnings.push_back(fmt::format("{} face different threat models ({} against {}): they cannot be compared.", pair,
                                   threat_text(reference), threat_text(run)));
  else if (budget_text(reference) != budget_text(run))
    warnings.push_back(
        fmt::format("{} were attacked with different budgets ({} against {}): the one attacked harder "
                    "looks worse than it is.",
                    pair, budget_text(reference), budget_text(run)));
}

bool comparable(const RunResults& a, const RunResults& b) {
  return same_images(a, b) && a.norm == b.norm && a.eps == b.eps && !a.headline().robust.empty() &&
         !b.headline().robust.empty();
}

/// Fills in what evaluation did not record, from the flags of the control's own run.
void pair_with_control(RunResults& run, const RunResults& control, std::vector<std::string>& warnings) {
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

void complete_intervals(RunResults& run) {
  const auto fill = [&](std::optional<Interval>& interval, const std::optional<double>& accuracy) {
    if (!interval && accuracy)
      interval = share_interval(std::llround(*accuracy / 100 * static_cast<double>(run.n)), run.n);
  };
  for (auto& context : run.contexts) {
    fill(context.clean_interval, context.clean_accuracy);
    fill(context.interval, context.robust_accuracy);
    auto& paired = context.control;
    if (paired && !paired->difference && context.robust_accuracy && paired->robust_accuracy)
      paired->difference = *context.robust_accuracy - *paired->robust_accuracy;
    if (paired && !paired->smallest_detectable && paired->p)
      paired->smallest_detectable = smallest_detectable(paired->wins + paired->losses, run.n);
    if (context.ste_accuracy && context.robust_accuracy && !context.obfuscation_gap)
      context.obfuscation_gap = *context.ste_accuracy - *context.robust_accuracy;
  }
}

/// A title by role; where a role occurs twice, with the model's name.
void name_runs(std::vector<RunResults>& runs) {
  for (auto& run : runs) {
    run.title = role_title(run.role, run.name);
    const auto same = std::count_if(runs.begin(), runs.end(), [&](const RunResults& r) { return r.role == run.role; });
    if (same > 1 && run.title != run.name) run.title += " " + run.name;
  }
}

void choose_subjects(Comparison& c) {
  const auto choose = [&](auto&& wanted) {
    std::vector<size_t> chosen;
    for (size_t i = 0; i < c.runs.size(); ++i)
      if (wanted(c.runs[i])) chosen.push_back(i);
    return chosen;
  };
  const auto controls = choose([](const RunResults& r) { return r.role == "control"; });
  if (!controls.empty()) c.control = controls.front();
  c.subjects = choose([](const RunResults& r) { return r.role == "hpm"; });
  if (c.subjects.empty()) c.subjects = choose([](const RunResults& r) { return r.role == "l2"; });
  if (c.subjects.empty())
    c.subjects = choose([](const RunResults& r) { return r.role != "base" && r.role != "control"; });
  if (c.subjects.empty()) c.subjects.push_back(c.control.value_or(0));
}

ModelRow summary_row(const std::string& role, const PairedModel& model, int64_t n) {
  ModelRow row{.role = role,
               .title = role_title(role, model.name),
               .clean = model.clean_accuracy,
               .robust = model.robust_accuracy};
  const auto interval = [&](std::optional<double> accuracy) -> std::optional<Interval> {
    if (!accuracy) return std::nullopt;
    return share_interval(std::llround(*accuracy / 100 * static_cast<double>(n)), n);
  };
  row.clean_interval = interval(row.clean), row.interval = interval(row.robust);
  row.summary = true;
  return row;
}

void collect_rows(Comparison& c) {
  const auto has_role = [&](const std::string& role) {
    return std::any_of(c.runs.begin(), c.runs.end(), [&](const RunResults& run) { return run.role == role; });
  };
  for (size_t i : c.subjects) {
    const auto& run = c.runs[i];
    if (run.base && !has_role("base")) c.rows.push_back(summary_row("base", *run.base, run.n));
    if (run.headline().control && !has_role("control"))
      c.rows.push_back(summary_row("control", *run.headline().control, run.n));
    if (!c.rows.empty()) break;
  }
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& run = c.runs[i];
    for (const auto& context : run.contexts) {
      ModelRow row{.role = run.role,
                   .title = run.title,
                   .context = context.context,
                   .clean = context.clean_accuracy,
                   .robust = context.robust_accuracy,
                   .clean_interval = context.clean_interval,
                   .interval = context.interval};
      row.suspect = is_suspect(run);
      const bool fair = !row.suspect && !(c.control && is_suspect(c.runs[*c.control]));
      if (run.role != "control" && fair) row.control = context.control;
      row.subject = std::find(c.subjects.begin(), c.subjects.end(), i) != c.subjects.end();
      c.rows.push_back(row);
    }
  }
  std::stable_sort(c.rows.begin(), c.rows.end(),
                   [](const ModelRow& a, const ModelRow& b) { return order_of(a.role) < order_of(b.role); });
}

}  // namespace

Interval share_interval(int64_t successes, int64_t n) {
  if (n < 1) return {0, 100};
  const double z = 1.959964, total = static_cast<double>(n), p = static_cast<double>(successes) / total;
  const double middle = (p + z * z / (2 * total)) / (1 + z * z / total);
  const double half = z / (1 + z * z / total) * std::sqrt(p * (1 - p) / total + z * z / (4 * total * total));
  return {100 * std::max(0., middle - half), 100 * std::min(1., middle + half)};
}

PairedModel compare_flags(const Flags& ours, const Flags& theirs) {
  require(ours.size() == theirs.size() && !ours.empty(),
          "compare_flags: needs flags for the same images, but got {} and {}", ours.size(), theirs.size());
  PairedModel out;
  int64_t kept = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    kept += theirs[i];
    out.wins += ours[i] > theirs[i];
    out.losses += theirs[i] > ours[i];
  }
  const auto n = static_cast<int64_t>(ours.size());
  const double total = static_cast<double>(n), b = static_cast<double>(out.wins), c = static_cast<double>(out.losses);
  const double middle = (b - c) / (total + 2);
  const double error = std::sqrt(b + c + 1 - (b - c) * (b - c) / (total + 2)) / (total + 2);
  out.robust_accuracy = 100 * static_cast<double>(kept) / total;
  out.difference = 100 * (b - c) / total;
  out.difference_interval = {100 * (middle - 1.959964 * error), 100 * (middle + 1.959964 * error)};
  out.p = mcnemar_p(out.wins, out.losses);
  out.smallest_detectable = smallest_detectable(out.wins + out.losses, n);
  return out;
}

Comparison compare_runs(std::vector<RunResults> runs) {
  require(!runs.empty(), "compare_runs: needs at least one run, but got none");
  Comparison c;
  std::stable_sort(runs.begin(), runs.end(),
                   [](const RunResults& a, const RunResults& b) { return order_of(a.role) < order_of(b.role); });
  c.runs = std::move(runs);
  name_runs(c.runs);
  choose_subjects(c);
  const auto& reference = c.runs[c.subjects.front()];
  for (auto& run : c.runs)
    if (&run != &reference) note_differences(reference, run, c.warnings);
  for (auto& run : c.runs) {
    if (c.control && &run != &c.runs[*c.control]) pair_with_control(run, c.runs[*c.control], c.warnings);
    complete_intervals(run);
  }
  collect_rows(c);
  return c;
}

std::string role_title(const std::string& role, const std::string& name) {
  if (role == "base") return "FC, base";
  if (role == "control") return "FC, control";
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
