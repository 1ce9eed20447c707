#include "hpm/io/file.h"
#include "hpm/report/analysis_impl.h"

namespace hpm {
namespace analysis {
namespace {

constexpr size_t kMostClasses = 20;  // that a heat map has room for

/// Steps on a logarithmic axis that has room for 0.
double step_place(double steps) { return std::log2(1 + steps); }

std::string series_chart(const AnalysisResults& a, LineChart chart,
                         const std::function<std::vector<LinePoint>(const HeadResult&)>& points) {
  for (const auto& head : a.heads)
    chart.series.push_back({.name = head_title(head.name), .tone = head_tone(head.name), .points = points(head)});
  return line_chart(chart);
}

std::vector<double> square(const std::vector<std::vector<double>>& rows) {
  std::vector<double> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

std::vector<std::string> titles(const AnalysisResults& a) {
  std::vector<std::string> out;
  for (const auto& head : a.heads) out.push_back(head_title(head.name));
  return out;
}

bool has(const FailureCount& count, const std::string& head) {
  return std::find(count.wrong.begin(), count.wrong.end(), head) != count.wrong.end();
}

/// Of the images that `first` is wrong on under attack, the percentage that `second` is wrong on too.
double shared_failures(const AnalysisResults& a, const std::string& first, const std::string& second) {
  int64_t of = 0, both = 0;
  for (const auto& count : a.wrong_attacked)
    if (has(count, first)) of += count.images, both += has(count, second) ? count.images : 0;
  return of ? 100. * static_cast<double>(both) / static_cast<double>(of) : std::numeric_limits<double>::quiet_NaN();
}

/// All classes, or those whose prototypes have the nearest neighbours.
std::vector<size_t> shown_classes(const std::vector<std::vector<double>>& distances) {
  std::vector<std::pair<double, size_t>> nearest;
  for (size_t k = 0; k < distances.size(); ++k) {
    double least = std::numeric_limits<double>::infinity();
    for (size_t other = 0; other < distances.size(); ++other)
      if (other != k) least = std::min(least, distances[k][other]);
    nearest.emplace_back(least, k);
  }
  if (nearest.size() > kMostClasses) {
    std::stable_sort(nearest.begin(), nearest.end());
    nearest.resize(kMostClasses);
  }
  std::vector<size_t> out;
  for (const auto& [least, k] : nearest) out.push_back(k);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

std::string against_eps(const AnalysisResults& a, double width) {
  LineChart chart{.frame = {"Accuracy against eps", "One line a head, with 95 % intervals.", width},
                  .x_axis = "eps, " + a.norm,
                  .y_axis = "% right"};
  for (const auto& point : a.heads.front().against_eps)
    chart.x_ticks.emplace_back(point.x, point.x == 0 ? "clean" : radius_text(point.x));
  return series_chart(a, std::move(chart), [](const HeadResult& head) { return head.against_eps; });
}

std::string against_iterations(const AnalysisResults& a, double width) {
  LineChart chart{.frame = {"Accuracy against iterations", "One line a head, with 95 % intervals.", width},
                  .x_axis = "iterations of APGD, one run each; logarithmic",
                  .y_axis = "% right"};
  for (const auto& point : a.heads.front().against_iterations)
    chart.x_ticks.emplace_back(step_place(point.x), point.x == 0 ? "clean" : fmt::format("{:g}", point.x));
  return series_chart(a, std::move(chart), [](const HeadResult& head) {
    auto points = head.against_iterations;
    for (auto& point : points) point.x = step_place(point.x);
    return points;
  });
}

std::string distances(const AnalysisResults& a, bool attacked, double width) {
  LineChart chart{.frame = {attacked ? "Distance to the boundary under attack" : "Distance to the boundary, clean",
                            "Percent of the images whose distance exceeds a value; at 0 that is accuracy.", width},
                  .x_axis = "distance to the decision boundary, units of z",
                  .y_axis = "% of images farther"};
  return series_chart(a, std::move(chart), [&](const HeadResult& head) {
    std::vector<LinePoint> points;
    const auto& shares = attacked ? head.beyond_attacked : head.beyond_clean;
    for (size_t i = 0; i < shares.size(); ++i) points.push_back({a.distance_grid[i], shares[i]});
    return points;
  });
}

namespace {

/// A measure that a chart shows a bar of, for each head.
struct Bar {
  const char *measure, *label, *weight;
};

/// Medians of measures over the images, with the middle half of them as whiskers.
std::string measure_bars(const AnalysisResults& a, const std::string& title, const std::string& axis,
                         std::initializer_list<Bar> bars, double width) {
  BarChart chart{.frame = {title, "Bars: median over images. Whiskers: the middle half of the images.", width},
                 .maximum = 0,
                 .axis = axis};
  for (const auto& head : a.heads)
    for (const auto& bar : bars) {
      const auto found = head.measures.find(bar.measure);
      BarRow row{.label = head_title(head.name) + bar.label};
      if (found == head.measures.end() || std::isnan(found->second.median)) {
        row.remark = "no images";
      } else {
        const auto& spread = found->second;
        row.layers = {{spread.median, head_tone(head.name) + bar.weight}};
        row.whisker = Interval{spread.p25, spread.p75};
        row.text = fmt::format("{:.3g}", spread.median);
        chart.maximum = std::max({chart.maximum, spread.p75, spread.median});
      }
      chart.rows.push_back(row);
    }
  if (chart.maximum <= 0) chart.maximum = 1;
  return bar_chart(chart);
}

}  // namespace

std::string distance_changes(const AnalysisResults& a, double width) {
  return measure_bars(a, "Distance to the boundary, and what the attack takes of it", "units of z",
                      {{"distance", ", distance", " pale"}, {"change", ", lost", " fill"}}, width);
}

std::string slopes(const AnalysisResults& a, double width) {
  return measure_bars(
      a, "Slope of the distance with respect to the image", "units of z for a perturbation of norm 1, " + a.norm,
      {{"local_slope", ", at the image", " pale"}, {"model_slope", ", along the attack", " fill"}}, width);
}

std::string feature_gains(const AnalysisResults& a, double width) {
  return measure_bars(a, "How far the attack moves the features", "units of z for a perturbation of norm 1, " + a.norm,
                      {{"feature_gain", "", " fill"}}, width);
}

std::string head_slopes(const AnalysisResults& a, double width) {
  return measure_bars(a, "Slope of the distance with respect to the features, along the attack",
                      "share of the features' move that went towards the boundary; 1 is a linear head's constant",
                      {{"head_slope", "", " fill"}}, width);
}

std::string scatter(const AnalysisResults& a, double width) {
  BarChart chart{
      .frame = {"Scatter within classes over scatter between them", "One bar a set of images and space.", width},
      .maximum = 0,
      .axis = "mean squared distances: to the own class's mean, over that mean's to the mean of all"};
  if (width < kNarrow) chart.axis = "within over between";
  for (const auto& s : a.scatter) {
    const auto images = s.images == "clean" ? "clean" : "attacked, " + head_title(s.images);
    const auto tone = s.images == "clean" ? "t-base" : head_tone(s.images);
    chart.rows.push_back({.label = images + (s.space == "h" ? ", in h" : ", in z"),
                          .layers = {{s.ratio, tone + (s.space == "h" ? " pale" : " fill")}},
                          .text = fmt::format("{:.2f}", s.ratio)});
    if (std::isfinite(s.ratio)) chart.maximum = std::max(chart.maximum, s.ratio);
    else chart.rows.back() = {.label = chart.rows.back().label, .remark = "one class alone"};
  }
  if (chart.maximum <= 0) chart.maximum = 1;
  return bar_chart(chart);
}

std::string prototypes(const AnalysisResults& a, const HeadResult& head, double width) {
  const auto shown = shown_classes(head.prototype_distances);
  HeatMap map{.frame = {"Distances between " + std::string(head.name == "fc" ? "weight vectors" : "prototypes") + ", " +
                            head_title(head.name),
                        "Percent of the largest distance.", width},
              .tone = head_tone(head.name),
              .column_title = "% of the largest distance"};
  double largest = 0;
  for (size_t r : shown)
    for (size_t c : shown) largest = std::max(largest, head.prototype_distances[r][c]);
  for (size_t r : shown) {
    const auto name = r < a.class_names.size() ? a.class_names[r] : fmt::format("class {}", r);
    const bool numbered = width < kNarrow || shown.size() > 12;
    map.row_labels.push_back(numbered ? fmt::format("{} {}", r, name) : name);
    map.column_labels.push_back(numbered ? fmt::format("{}", r) : name);
    for (size_t c : shown)
      map.values.push_back(r == c        ? std::numeric_limits<double>::quiet_NaN()
                           : largest > 0 ? 100 * head.prototype_distances[r][c] / largest
                                         : 0);
  }
  return heat_map(map);
}

std::string agreement(const AnalysisResults& a, double width) {
  HeatMap map{
      .frame = {"Failures under attack that heads share",
                "Of the images that the row's head is wrong on, the percentage that the column's is too.", width},
      .row_labels = titles(a),
      .column_labels = titles(a),
      .tone = "t-bad",
      .column_title = "% of the row's failures that the column fails on too"};
  for (const auto& row : a.heads)
    for (const auto& column : a.heads) map.values.push_back(shared_failures(a, row.name, column.name));
  return heat_map(map);
}

std::string transfer(const AnalysisResults& a, double width) {
  HeatMap map{.frame = {"One head's adversarial images judged by the others",
                        "Percent right. Rows: attacked head. Columns: judging head.", width},
              .row_labels = titles(a),
              .column_labels = titles(a),
              .values = square(a.transfer),
              .row_title = "made against",
              .column_title = "% right, judged by"};
  return heat_map(map);
}

}  // namespace analysis

void write_analysis_charts(const std::string& directory) {
  const auto files = read_run(directory);
  const auto a = parse_analysis(files.results, directory + "/analysis.json");
  const auto write = [&](const std::string& name, const std::string& chart) {
    write_file_atomically(directory + "/" + name + ".svg", svg_file(chart));
  };
  constexpr double kWidth = 800;
  write("against-eps", analysis::against_eps(a, kWidth));
  write("against-iterations", analysis::against_iterations(a, kWidth));
  write("distances-clean", analysis::distances(a, false, kWidth));
  write("distances-attacked", analysis::distances(a, true, kWidth));
  write("distance-changes", analysis::distance_changes(a, kWidth));
  write("slopes", analysis::slopes(a, kWidth));
  write("feature-gains", analysis::feature_gains(a, kWidth));
  write("head-slopes", analysis::head_slopes(a, kWidth));
  write("scatter", analysis::scatter(a, kWidth));
  for (const auto& head : a.heads)
    if (!head.prototype_distances.empty()) write("prototypes-" + head.name, analysis::prototypes(a, head, kWidth));
  write("agreement", analysis::agreement(a, kWidth));
  write("transfer", analysis::transfer(a, kWidth));
}

}  // namespace hpm
