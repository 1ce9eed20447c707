// What a page about many runs begins with: where they stand, before the parts of each.
#include "hpm/report/overview_impl.h"

#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

std::string number_of_runs(size_t count) { return count == 1 ? "1 run" : fmt::format("{} runs", count); }

/// The row of a run's first context, which its figures belong to.
const ModelRow* first_row(const Comparison& c, size_t run) {
  const auto found = std::find_if(c.rows.begin(), c.rows.end(), [&](const ModelRow& row) { return row.run == run; });
  return found == c.rows.end() ? nullptr : &*found;
}

/// How many runs differ from the reference, and how many would seem to by chance.
std::string differences_text(const Comparison& c) {
  if (!c.reference) return "";
  size_t compared = 0, gains = 0, losses = 0, suspect = 0;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto* row = first_row(c, i);
    if (!row || !row->reference) continue;
    ++compared;
    const auto difference = difference_of(*row->reference);
    if (row->reference_doubtful) ++suspect;
    else if (difference == Difference::gain) ++gains;
    else if (difference == Difference::loss) ++losses;
  }
  const auto& name = c.runs[*c.reference].title;
  if (compared == 0) return fmt::format("No run can be compared with the reference, {}, image by image.", name);
  auto text = fmt::format(
      "Against the reference, {}, on the same images: of {} {} are detectably more robust, {} less robust, {} not "
      "detectably different",
      name, number_of_runs(compared), gains, losses, compared - gains - losses - suspect);
  if (suspect > 0) text += fmt::format("; {} not judged, for a run of the pair is suspect", suspect);
  if (compared > 1)
    text += fmt::format(
        ". Each is judged at 5 %: were all of them as robust as it, up to about {:.0f} would seem different",
        std::ceil(.05 * static_cast<double>(compared)));
  return text + ".";
}

std::string best_text(const Comparison& c, const Overview& o) {
  if (o.front.empty()) return "";
  const auto& run = c.runs[o.front.front()];  // by rising clean accuracy, so by falling robust accuracy
  const auto& figures = run.headline();
  return fmt::format(
      "The highest robust accuracy among these: {} with {}{}. The highest of many figures is flattered by chance.",
      run.title, percent(*figures.robust_accuracy),
      figures.interval ? " (95 % interval " + span_text(*figures.interval) + ")" : "");
}

std::string warnings_part(const Comparison& c) {
  std::string items;
  for (const auto& warning : c.warnings) items += "<li>" + typeset(warning) + "</li>\n";
  if (items.empty()) return "";
  return folded(fmt::format("What cannot be compared: {}",
                            c.warnings.size() == 1 ? "1 remark" : fmt::format("{} remarks", c.warnings.size())),
                "<ul class=\"note\">\n" + items + "</ul>");
}

/// Why a run is a ring: it is plotted, but not judged beside the others.
std::string ring_text(const Comparison& c, const Overview& o, size_t i) {
  const auto& run = c.runs[i];
  const auto& basis = c.runs[*o.basis];
  if (is_suspect(run)) return "suspect";
  if (run.norm != basis.norm || run.eps != basis.eps) return "another threat: " + run.norm + " " + radius_text(run.eps);
  return run.budget != basis.budget ? "another budget: " + run.budget : "other images";
}

ScatterPoint point_of(const Comparison& c, const Overview& o, size_t i) {
  using Mark = ScatterPoint::Mark;
  const auto& run = c.runs[i];
  const auto& figures = run.headline();
  ScatterPoint point{.x = *figures.clean_accuracy, .y = *figures.robust_accuracy};
  point.title = run.title + (figures.context.empty() ? "" : ", " + figures.context) + ": " + figures_text(run);
  if (!o.is_alike(i)) {
    point.mark = Mark::ring;
    point.title += " (" + ring_text(c, o, i) + ")";
  } else if (o.is_front(i)) {
    point.mark = Mark::front;
  }
  if (const auto number = o.number_of(i); number > 0) {
    point.tone = o.tone_of(i);
    point.name = run.title, point.short_name = fmt::format("{}", number);
  }
  return point;
}

/// The named runs as a list, in their colours: the charts' key.
std::string key_of_named(const Comparison& c, const Overview& o) {
  std::string out;
  for (const size_t i : o.named)
    out += fmt::format("<li><i class=\"dot {}\"></i><a href=\"#run-{}\">{}</a><small>{}</small></li>\n", o.tone_of(i),
                       i + 1, escape_html(c.runs[i].title), typeset(figures_text(c.runs[i])));
  return out.empty() ? "" : "<ol class=\"named-runs\">\n" + out + "</ol>\n";
}

std::string scatter_part(const Comparison& c, const Overview& o) {
  if (o.attacked.size() < 2) return "";
  ScatterChart chart{.frame = {"Clean against robust accuracy",
                               "One point a run. Full points are dominated by no other run; the table holds the same "
                               "numbers."},
                     .x_axis = "% clean",
                     .y_axis = "% robust, worst case"};
  for (const size_t i : o.attacked) chart.points.push_back(point_of(c, o, i));
  const auto figure = responsive([&](double width) {
    chart.frame.width = width;
    return scatter_chart(chart);
  });
  const auto rings = o.attacked.size() - o.alike.size();
  std::string caption =
      "Each run by its first context. Full: no other run has both accuracies at least as high and one higher; pale: "
      "some other one has.";
  if (o.named.size() < o.front.size())
    caption += fmt::format(" {} of the {} full ones are named, spread along the line.", o.named.size(), o.front.size());
  if (rings > 0)
    caption += fmt::format(
        " Rings: {} that are suspect, or saw other images, another threat or another budget than {}; they are not "
        "judged here.",
        number_of_runs(rings), c.runs[*o.basis].title);
  return heading("accuracies", "Clean against robust accuracy") + "<figure>" + figure + key_of_named(c, o) +
         "<figcaption>" + typeset(caption) + "</figcaption></figure>\n";
}

std::string curves_part(const Comparison& c, const Overview& o) {
  if (!o.basis) return "";
  const auto& basis = c.runs[*o.basis];
  LineChart chart{.frame = {"Robust accuracy against eps", "One line a run; the named ones in colour."},
                  .x_axis = "eps, " + basis.norm,
                  .y_axis = "% robust"};
  std::map<double, std::string> ticks;
  size_t elsewhere = 0;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& run = c.runs[i];
    if (run.curve.size() < 2) continue;
    if (run.norm != basis.norm || run.dataset != basis.dataset || run.split != basis.split) {
      ++elsewhere;
      continue;
    }
    auto series = curve_of(run, false);
    const bool named = o.number_of(i) > 0;
    series.pale = !named, series.tone = named ? o.tone_of(i) : "t-base";
    for (const auto& point : series.points) ticks[point.x] = radius_text(point.x);
    chart.series.push_back(std::move(series));
  }
  if (chart.series.empty()) return "";
  chart.x_ticks.assign(ticks.begin(), ticks.end());
  const auto figure = responsive([&](double width) {
    chart.frame.width = width;
    return line_chart(chart);
  });
  std::string caption =
      "Robust accuracy, worst case, as the attacker is allowed more; eps = 0 is clean accuracy. In colour: the named "
      "runs of the chart above. Pale: the others.";
  if (elsewhere > 0)
    caption += fmt::format(" {} with curves in another norm or on other data not shown.", number_of_runs(elsewhere));
  return heading("eps", "Accuracy against eps") + "<figure>" + figure + "<figcaption>" + typeset(caption) +
         "</figcaption></figure>\n";
}

std::string reference_part(const Comparison& c, const Overview& o) {
  const auto chart = reference_chart(c, [&](const ModelRow& row) {
    const bool shown = row.run && first_row(c, *row.run) == &row && o.number_of(*row.run) > 0;
    return shown ? o.tone_of(*row.run) : std::string();
  });
  if (chart.empty()) return "";
  return heading("reference", "Difference to " + c.runs[*c.reference].title) +
         paragraph(
             "The named runs; the table has the difference of every run. --reference NAME compares with another.") +
         chart;
}

}  // namespace

std::string overview_summary(const Comparison& c) {
  const auto o = overview_of(c);
  const auto counted = number_of_runs(c.runs.size());
  const auto sentence =
      o.attacked.empty() ? counted + "; none of them was attacked, which says nothing about robustness."
      : o.front.empty()
          ? counted + "; none of them can be placed before another: those that were attacked are suspect."
          : fmt::format(
                "{}; of the {} that were evaluated alike, {} dominated by no other in clean and "
                "robust accuracy.",
                counted, o.alike.size(), o.front.size() == 1 ? "1 is" : fmt::format("{} are", o.front.size()));
  std::string items;
  const auto item = [&](const std::string& text) {
    if (!text.empty()) items += "<li>" + typeset(text) + "</li>\n";
  };
  if (o.suspect > 0)
    item(
        fmt::format("Suspect: {} did not pass the checks and {} marked; no figure of theirs can be taken as "
                    "robustness.",
                    number_of_runs(o.suspect), o.suspect == 1 ? "is" : "are"));
  item(best_text(c, o));
  item(differences_text(c));
  item("One trained model each: what another training seed would change is not in these intervals.");
  return fmt::format(
      "<section class=\"verdict is-no-difference\"><span class=\"chip\">{}</span>\n<p class=\"say\">{}</p>\n<ul>\n{}"
      "</ul>\n</section>\n{}",
      counted, typeset(sentence), items, warnings_part(c));
}

std::string overview(const Comparison& c, const std::vector<RunFiles>& files) {
  const auto o = overview_of(c);
  return heading("models", "Side by side") + models_table(c) + scatter_part(c, o) + curves_part(c, o) +
         reference_part(c, o) + run_list(c, files);
}

}  // namespace hpm::sections
