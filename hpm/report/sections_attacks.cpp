// What each surrogate broke, accuracy against eps, and the classes.
#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

std::string surrogate_note(const SurrogateResult& s) {
  if (!s.unavailable.empty()) return "not available: " + s.unavailable;
  if (!s.same_as.empty()) return "same as " + s.same_as;
  return "";
}

BarChart surrogate_chart(const ContextResult& c, double width) {
  int64_t most = 1;
  for (const auto& s : c.surrogates) most = std::max({most, s.of, s.broke});
  BarChart chart{.frame = {"What each surrogate broke" + (c.context.empty() ? "" : ", context " + c.context),
                           "Bars: images given to the surrogate, broken by it, and broken by it first.", width},
                 .maximum = static_cast<double>(most),
                 .axis = "images"};
  for (const auto& s : c.surrogates) {
    BarRow row{.label = s.name, .remark = surrogate_note(s)};
    if (row.remark.empty()) {
      row.layers = {{static_cast<double>(s.of), "t-base faint"},
                    {static_cast<double>(s.broke), "t-hpm pale"},
                    {static_cast<double>(s.first), "t-hpm fill"}};
      row.text = fmt::format("{} of {}", s.broke, s.of);
    }
    chart.rows.push_back(row);
  }
  return chart;
}

std::string context_sentence(const ContextResult& c) {
  std::string out;
  if (c.ste_accuracy && c.robust_accuracy && c.obfuscation_gap)
    out += *c.obfuscation_gap > .05
               ? fmt::format(
                     "Obfuscation gap {} points: attacked through STE alone the model would seem to keep {}, but {} "
                     "survive the worst case; the difference is masked gradients, not robustness.",
                     one_decimal(*c.obfuscation_gap), percent(*c.ste_accuracy), percent(*c.robust_accuracy))
               : fmt::format("Obfuscation gap {} points: STE alone already finds the worst case ({}).",
                             one_decimal(*c.obfuscation_gap), percent(*c.robust_accuracy));
  std::vector<std::string> complete;
  for (const auto& s : c.surrogates)
    if (s.complete && s.robust_accuracy && s.same_as.empty())
      complete.push_back(s.name + " " + percent(*s.robust_accuracy));
  if (!complete.empty()) {
    out += " On its own, each surrogate that was given every image would have reported: ";
    for (size_t i = 0; i < complete.size(); ++i) out += (i ? ", " : "") + complete[i];
    out += ".";
  }
  if (c.joint_any)
    out += fmt::format(" Some attacked batch breaks each image for all but {} (joint, existential).",
                       percent(*c.joint_any));
  return out;
}

std::string surrogate_context(const ContextResult& c) {
  std::string out;
  if (!c.context.empty()) out += "<h3>Context " + escape_html(c.context) + "</h3>";
  const auto sentence = context_sentence(c);
  if (!sentence.empty()) out += paragraph(sentence);
  out += "<figure>" + responsive([&](double width) { return bar_chart(surrogate_chart(c, width)); }) + "</figure>";
  return out + "\n";
}

/// Correct predictions by class, clean and robust, in percent; -1 for a class without images.
struct ClassShares {
  std::vector<double> clean, robust;
  std::vector<int64_t> count;
};

ClassShares class_shares(const RunResults& run) {
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

std::string class_chart(const Comparison& c, const RunResults& run, double width) {
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

std::string confusion_chart(const RunResults& run, double width) {
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
    const auto predicted = run.adversarial_predictions[i];
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

std::string class_figures(const Comparison& c, const RunResults& run) {
  const bool marked = c.control && &c.runs[*c.control] != &run && c.runs[*c.control].labels == run.labels;
  std::string out = "<figure>" + responsive([&](double width) { return class_chart(c, run, width); });
  const bool all = class_shares(run).count.size() <= kMostClasses;
  out += "<figcaption>" +
         typeset(std::string("Pale: clean. Full: robust.") +
                 (marked ? " The tick is the control's robust accuracy." : "") +
                 (all ? "" : fmt::format(" The {} classes with the lowest robust accuracy.", kMostClasses))) +
         "</figcaption></figure>\n";
  if (run.classes > 12 || run.adversarial_predictions.empty()) return out;
  return out + "<figure>" + responsive([&](double width) { return confusion_chart(run, width); }) +
         "<figcaption>Where attacked images go. The diagonal is what survives.</figcaption></figure>\n";
}

}  // namespace

std::string surrogates(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects) {
    const auto& run = c.runs[i];
    std::string contexts;
    for (const auto& context : run.contexts)
      if (!context.surrogates.empty()) contexts += surrogate_context(context);
    if (!contexts.empty()) out += subject_title(c, i) + contexts;
  }
  if (out.empty()) return "";
  return heading("surrogates", "What each surrogate broke") +
         paragraph(
             "A surrogate is a differentiable stand-in that the attacker follows; whether it succeeded is always "
             "judged "
             "on the true prediction. An image counts as robust only if every surrogate failed on it.") +
         "<p class=\"key\">" + key_entry("t-hpm", "broken by it first") + key_entry("t-hpm", "broken by it", true) +
         key_entry("t-base", "images it was given", true) + "</p>\n" + out;
}

std::string curves(const Comparison& c) {
  LineChart chart{.frame = {"Robust accuracy against eps", "One line a model, with 95 % intervals."},
                  .x_axis = "",
                  .y_axis = "% robust"};
  for (const auto& run : c.runs) {
    if (run.curve.size() < 2) continue;
    LineSeries series{.name = run.title, .tone = role_tone(run.role)};
    bool has_zero = false;
    for (const auto& point : run.curve) {
      const double half = 1.96 * point.standard_error;
      has_zero = has_zero || point.eps == 0;
      series.points.push_back(
          {point.eps, point.robust_accuracy, Interval{point.robust_accuracy - half, point.robust_accuracy + half}});
    }
    if (const auto& h = run.headline(); !has_zero && h.clean_accuracy)
      series.points.push_back({0, *h.clean_accuracy, h.clean_interval});
    std::sort(series.points.begin(), series.points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
    chart.series.push_back(series);
    chart.x_axis = "eps, " + run.norm;
  }
  if (chart.series.empty()) return "";
  for (const auto& series : chart.series)
    for (const auto& point : series.points)
      if (std::none_of(chart.x_ticks.begin(), chart.x_ticks.end(), [&](const auto& t) { return t.first == point.x; }))
        chart.x_ticks.emplace_back(point.x, radius_text(point.x));
  std::sort(chart.x_ticks.begin(), chart.x_ticks.end());
  std::string key;
  for (const auto& series : chart.series) key += key_entry(series.tone, series.name);
  const auto figure = responsive([&](double width) {
    chart.frame.width = width;
    return line_chart(chart);
  });
  return heading("eps", "Accuracy against eps") + "<figure>" + figure + "<p class=\"key\">" + key + "</p><figcaption>" +
         typeset(
             "Robust accuracy, worst case, as the attacker is allowed more; eps = 0 is clean accuracy. Bands: 95 % "
             "intervals.") +
         "</figcaption></figure>\n";
}

std::string classes(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects) {
    const auto& run = c.runs[i];
    if (run.labels.empty() || run.headline().clean_correct.empty() || run.headline().robust.empty()) continue;
    out += subject_title(c, i) + class_figures(c, run);
  }
  return out.empty() ? "" : heading("classes", "By class") + out;
}

}  // namespace hpm::sections
