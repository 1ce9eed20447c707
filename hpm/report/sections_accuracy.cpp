// Accuracy against eps, and by class.
#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {

LineSeries curve_of(const ReportedRun& run, bool intervals) {
  LineSeries series{.name = run.title, .tone = role_tone(run.role)};
  bool has_zero = false;
  for (const auto& point : run.curve) {
    const double half = 1.96 * point.standard_error, value = point.robust_accuracy;
    series.points.push_back({point.eps, value, Interval{value - half, value + half}});
    has_zero = has_zero || point.eps == 0;
  }
  if (const auto& h = run.headline(); !has_zero && h.clean_accuracy)
    series.points.push_back({0, *h.clean_accuracy, h.clean_interval});
  std::sort(series.points.begin(), series.points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
  if (!intervals)
    for (auto& point : series.points) point.interval.reset();
  return series;
}

namespace {

/// Correct predictions by class, clean and robust, in percent; -1 for a class without images.
struct ClassShares {
  std::vector<double> clean, robust;
  std::vector<int64_t> count;
};

ClassShares class_shares(const ReportedRun& run) {
  const auto k = static_cast<size_t>(run.classes);
  ClassShares out{std::vector<double>(k), std::vector<double>(k), std::vector<int64_t>(k)};
  const auto& c = run.headline();
  for (size_t i = 0; i < run.labels.size(); ++i) {
    const auto label = static_cast<size_t>(run.labels[i]);
    ++out.count[label];
    if (!c.clean_correct.empty()) out.clean[label] += c.clean_correct[i];
    if (!c.robust.empty()) out.robust[label] += c.robust[i];
  }
  for (size_t l = 0; l < k; ++l)
    for (auto* shares : {&out.clean, &out.robust})
      (*shares)[l] = out.count[l] == 0 ? -1 : 100 * (*shares)[l] / static_cast<double>(out.count[l]);
  return out;
}

constexpr size_t kMostClasses = 20;

/// The classes to show: all, or those with the lowest robust accuracy.
std::vector<size_t> shown_classes(const ClassShares& shares) {
  std::vector<size_t> out;
  for (size_t l = 0; l < shares.count.size(); ++l)
    if (shares.count[l] > 0) out.push_back(l);
  if (out.size() <= kMostClasses) return out;
  std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) { return shares.robust[a] < shares.robust[b]; });
  out.resize(kMostClasses);
  return out;
}

std::string class_chart(const Comparison& c, const ReportedRun& run, double width) {
  const auto shares = class_shares(run);
  const bool marked = c.control && c.runs[*c.control].labels == run.labels && &c.runs[*c.control] != &run;
  const auto control = marked ? class_shares(c.runs[*c.control]) : ClassShares{};
  BarChart chart{.frame = {"Accuracy by class, " + run.title, "Pale: clean. Full: robust, worst case.", width},
                 .axis = "% of the class's images"};
  for (size_t l : shown_classes(shares)) {
    BarRow row{.label = class_name(run, static_cast<int64_t>(l))};
    row.layers = {{shares.clean[l], role_tone(run.role) + " pale"}, {shares.robust[l], role_tone(run.role) + " fill"}};
    if (marked && l < control.robust.size()) row.marker = control.robust[l];
    row.text = fmt::format("{:.0f} → {:.0f}", shares.clean[l], shares.robust[l]);
    chart.rows.push_back(row);
  }
  return bar_chart(chart);
}

std::string confusion_chart(const ReportedRun& run, double width) {
  const auto k = static_cast<size_t>(run.classes);
  HeatMap map{.frame = {"Where attacked images go, " + run.title,
                        "Rows: true class. Columns: predicted class of the "
                        "adversarial image. Percent of the row.",
                        width},
              .values = std::vector<double>(k * k, 0.),
              .tone = "t-bad",
              .row_title = "true class",
              .column_title = "predicted on the adversarial image, % of the row"};
  map.diagonal_tone = role_tone(run.role);
  std::vector<double> total(k, 0.);
  for (size_t i = 0; i < run.labels.size(); ++i) {
    const auto label = static_cast<size_t>(run.labels[i]);
    const auto predicted = run.predictions.adversarial[i];
    total[label] += 1;
    if (predicted >= 0 && predicted < run.classes) map.values[label * k + static_cast<size_t>(predicted)] += 1;
  }
  for (size_t i = 0; i < k * k; ++i)
    map.values[i] = total[i / k] > 0 ? 100 * map.values[i] / total[i / k] : std::numeric_limits<double>::quiet_NaN();
  for (size_t l = 0; l < k; ++l) {
    map.row_labels.push_back(class_name(run, static_cast<int64_t>(l)));
    map.column_labels.push_back(width < kNarrow ? fmt::format("{}", l) : map.row_labels.back());
  }
  if (width < kNarrow)
    for (size_t l = 0; l < k; ++l) map.row_labels[l] = fmt::format("{} {}", l, map.row_labels[l]);
  return heat_map(map);
}

std::string class_figures(const Comparison& c, const ReportedRun& run) {
  const bool marked = c.control && &c.runs[*c.control] != &run && c.runs[*c.control].labels == run.labels;
  std::string out = "<figure>" + responsive([&](double width) { return class_chart(c, run, width); });
  const bool all = class_shares(run).count.size() <= kMostClasses;
  out += "<figcaption>" +
         typeset(std::string("Pale: clean. Full: robust.") +
                 (marked ? " The tick is the control's robust accuracy." : "") +
                 (all ? "" : fmt::format(" The {} classes with the lowest robust accuracy.", kMostClasses))) +
         "</figcaption></figure>\n";
  if (run.classes > 12 || run.predictions.adversarial.empty()) return out;
  return out + "<figure>" + responsive([&](double width) { return confusion_chart(run, width); }) +
         "<figcaption>Where attacked images go. The diagonal is what survives.</figcaption></figure>\n";
}

}  // namespace

std::string curves(const Comparison& c) {
  LineChart chart{.frame = {"Robust accuracy against eps", "One line a model, with 95 % intervals."},
                  .y_axis = "% robust"};
  std::string key;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    if (c.runs[i].curve.size() < 2) continue;
    // Four bands on one another would hide the lines: only the pair that is compared has them.
    chart.series.push_back(curve_of(c.runs[i], i == c.subjects.front() || i == c.control));
    chart.x_axis = "eps, " + c.runs[i].norm;
    key += key_entry(chart.series.back().tone, chart.series.back().name);
  }
  if (chart.series.empty()) return "";
  std::map<double, std::string> ticks;
  for (const auto& series : chart.series)
    for (const auto& point : series.points) ticks[point.x] = radius_text(point.x);
  chart.x_ticks.assign(ticks.begin(), ticks.end());
  const auto figure = responsive([&](double width) {
    chart.frame.width = width;
    return line_chart(chart);
  });
  return heading("eps", "Accuracy against eps") + "<figure>" + figure + "<p class=\"key\">" + key + "</p><figcaption>" +
         typeset(
             "Robust accuracy, worst case, as the attacker is allowed more; eps = 0 is clean accuracy. Bands: 95 % "
             "intervals of the models compared.") +
         "</figcaption></figure>\n";
}

std::string classes_of(const Comparison& c, size_t i) {
  const auto& run = c.runs[i];
  const bool known = !run.labels.empty() && !run.headline().clean_correct.empty() && !run.headline().robust.empty();
  return known ? class_figures(c, run) : "";
}

std::string classes(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects)
    if (const auto part = classes_of(c, i); !part.empty()) out += subject_title(c, i) + part;
  return out.empty() ? "" : heading("classes", "By class") + out;
}

}  // namespace hpm::sections
