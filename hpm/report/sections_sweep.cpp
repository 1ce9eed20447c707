// Accuracy against lambda, and what colluding neighbours did.
#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

/// One line a context; tones in turn, for contexts have none of their own.
LineChart sweep_chart(const ReportedRun& run) {
  static const char* const tones[] = {"t-hpm", "t-control", "t-l2", "t-base"};
  LineChart chart{.frame = {"Robust accuracy against lambda, " + run.title, "One line a context."},
                  .x_axis = "lambda",
                  .y_axis = "% robust"};
  std::map<double, std::string> ticks;
  for (const auto& point : run.sweep) {
    ticks[point.lambda] = fmt::format("{:g}", point.lambda);
    auto found = std::find_if(chart.series.begin(), chart.series.end(),
                              [&](const auto& series) { return series.name == point.context; });
    if (found == chart.series.end()) {
      chart.series.push_back({.name = point.context, .tone = tones[chart.series.size() % std::size(tones)]});
      found = std::prev(chart.series.end());
    }
    found->points.push_back({point.lambda, point.robust_accuracy, {}});
  }
  for (auto& series : chart.series)
    std::sort(series.points.begin(), series.points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
  chart.x_ticks.assign(ticks.begin(), ticks.end());
  return chart;
}

std::string sweep_table(const ReportedRun& run) {
  HtmlTable table{.columns = {"Context", "lambda", "Clean", "Robust"}};
  auto points = run.sweep;
  std::stable_sort(points.begin(), points.end(), [](const auto& a, const auto& b) { return a.lambda < b.lambda; });
  for (const auto& point : points)
    table.rows.push_back(
        {escape_html(point.context), fmt::format("{:g}", point.lambda), typeset(percent(point.clean_accuracy)),
         typeset(point.attacked ? percent(point.robust_accuracy) : "at most " + percent(point.robust_accuracy))});
  return html_table(table);
}

}  // namespace

std::string sweep_of(const ReportedRun& run) {
  if (run.sweep.empty()) return "";
  auto chart = sweep_chart(run);
  std::string key;
  for (const auto& series : chart.series) key += key_entry(series.tone, series.name);
  const auto figure = responsive([&](double width) {
    chart.frame.width = width;
    return line_chart(chart);
  });
  return "<figure>" + figure + "<p class=\"key\">" + key + "</p></figure>\n" + sweep_table(run);
}

std::string sweeps(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects)
    if (const auto part = sweep_of(c.runs[i]); !part.empty()) out += subject_title(c, i) + part;
  if (out.empty()) return "";
  return heading("lambda", "Accuracy against lambda") +
         paragraph(
             "The attacks were aimed at one lambda; their images were judged at the others too. Nothing was aimed at "
             "those, so their robust accuracies are upper bounds: compare them with care.") +
         out;
}

std::string collusion_table(const ContextResult& c) {
  if (c.collusion.empty()) return "";
  HtmlTable table{.columns = {"The attacker controls", "Victims", "Broken"}};
  for (const auto& o : c.collusion) {
    const auto neighbours = o.colluders == 1 ? "1 neighbour" : fmt::format("{} neighbours", o.colluders);
    const auto rows = !o.victim_too      ? neighbours
                      : o.colluders == 0 ? "the victim alone"
                                         : "the victim and " + neighbours;
    table.rows.push_back({escape_html(rows), fmt::format("{}", o.victims),
                          fmt::format("{} ({})", o.broke,
                                      typeset(percent(100. * static_cast<double>(o.broke) /
                                                      static_cast<double>(std::max<int64_t>(o.victims, 1)))))});
  }
  return paragraph(
             "Colluding neighbours: how often single images of a batch were broken by who controls others of it.") +
         html_table(table);
}

}  // namespace hpm::sections
