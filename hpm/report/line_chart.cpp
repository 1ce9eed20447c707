#include "hpm/core/error.h"
#include "hpm/report/charts.h"

namespace hpm {
namespace {

struct Plane {
  double left = 0, right = 0, top = 0, bottom = 0, x_low = 0, x_high = 1, y_high = 100;

  double x(double v) const { return left + (right - left) * (v - x_low) / (x_high - x_low); }
  double y(double v) const { return bottom - (bottom - top) * std::clamp(v / y_high, 0., 1.); }
};

Plane plane_of(const LineChart& chart, double height) {
  Plane p{.left = 40, .right = 0, .top = 24, .bottom = height - 40, .x_low = 0, .x_high = 0, .y_high = chart.maximum};
  double name = 0;
  for (const auto& series : chart.series) {
    if (!series.pale) name = std::max(name, text_width(series.name));
    for (const auto& point : series.points) p.x_high = std::max(p.x_high, point.x);
  }
  if (p.x_high <= 0) p.x_high = 1;
  name = std::min(name, chart.frame.width * .38);  // longer names are cut
  p.right = chart.frame.width < kNarrow ? chart.frame.width - 12 : chart.frame.width - name - 16;
  return p;
}

void draw_grid(Svg& svg, const LineChart& chart, const Plane& p) {
  for (double tick : nice_ticks(0, chart.maximum, 5)) {
    if (tick > chart.maximum * 1.0001) continue;
    svg.line(p.left, p.y(tick), p.right, p.y(tick), tick == 0 ? "axis" : "grid");
    svg.text(p.left - 8, p.y(tick) + 4, fmt::format("{:g}", tick), "soft small", Anchor::end);
  }
  auto ticks = chart.x_ticks;
  if (ticks.empty())
    for (double tick : nice_ticks(0, p.x_high, 5)) ticks.emplace_back(tick, fmt::format("{:g}", tick));
  double free_from = -1;
  for (const auto& [value, text] : ticks) {
    if (value > p.x_high * 1.0001) continue;
    svg.line(p.x(value), p.bottom, p.x(value), p.bottom + 4, "axis");
    const double half = text_width(text) / 2;
    if (p.x(value) - half < free_from) continue;
    svg.text(p.x(value), p.bottom + 17, text, "soft small", Anchor::middle);
    free_from = p.x(value) + half + 4;
  }
  svg.text(0, 11, chart.y_axis, "soft small");
  svg.text((p.left + p.right) / 2, p.bottom + 34, chart.x_axis, "soft small", Anchor::middle);
}

void draw_series(Svg& svg, const LineSeries& series, const Plane& p) {
  std::vector<double> line, upper, lower;
  for (const auto& point : series.points) {
    line.insert(line.end(), {p.x(point.x), p.y(point.y)});
    if (!point.interval) continue;
    upper.insert(upper.end(), {p.x(point.x), p.y(point.interval->high)});
    lower.insert(lower.begin(), {p.x(point.x), p.y(point.interval->low)});
  }
  svg.open_group(series.name);
  if (series.band && upper.size() > 2) {
    auto area = upper;
    area.insert(area.end(), lower.begin(), lower.end());
    svg.path(area, series.tone + " area", true);
  }
  if (line.size() > 2) svg.path(line, series.tone + " stroke");
  for (const auto& point : series.points) {
    const double x = p.x(point.x);
    if (!series.band && point.interval) svg.line(x, p.y(point.interval->low), x, p.y(point.interval->high), "whisker");
    svg.circle(x, p.y(point.y), 3.4, series.tone + " fill");
  }
  svg.close_group();
}

void draw_pale(Svg& svg, const LineSeries& series, const Plane& p) {
  if (series.points.size() < 2) return;
  std::vector<double> line;
  for (const auto& point : series.points) line.insert(line.end(), {p.x(point.x), p.y(point.y)});
  svg.open_group(series.name);
  svg.path(line, series.tone + " hair");
  svg.close_group();
}

/// Names at the ends of the lines, pushed apart where lines end close together.
void draw_names(Svg& svg, const LineChart& chart, const Plane& p) {
  constexpr double kGap = 16;
  std::vector<std::pair<double, const LineSeries*>> names;
  for (const auto& series : chart.series)
    if (!series.points.empty() && !series.pale) names.emplace_back(p.y(series.points.back().y), &series);
  std::sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (int round = 0; round < 200; ++round)
    for (size_t i = 1; i < names.size(); ++i) {
      const double missing = kGap - (names[i].first - names[i - 1].first);
      if (missing <= 0) continue;
      names[i - 1].first -= missing / 2;
      names[i].first += missing / 2;
    }
  double lowest = p.bottom;  // the lines of the axis stay free
  for (auto name = names.rbegin(); name != names.rend(); ++name)
    name->first = std::min(name->first, lowest), lowest = name->first - kGap;
  const double room = chart.frame.width - p.right - 10;
  for (const auto& [y, series] : names)
    svg.text(p.right + 10, y + 4, fitted(series->name, room), "strong named " + series->tone);
}

}  // namespace

std::string line_chart(const LineChart& chart) {
  require(chart.maximum > 0, "line_chart: needs a maximum over 0, but got {}", chart.maximum);
  const bool narrow = chart.frame.width < kNarrow;
  const double height = narrow ? 260 : 330;
  const auto p = plane_of(chart, height);
  Svg svg(chart.frame, height);
  draw_grid(svg, chart, p);
  for (const auto& series : chart.series)
    if (series.pale) draw_pale(svg, series, p);
  for (const auto& series : chart.series)
    if (!series.pale) draw_series(svg, series, p);
  if (!narrow) draw_names(svg, chart, p);
  return svg.inline_element();
}

}  // namespace hpm
