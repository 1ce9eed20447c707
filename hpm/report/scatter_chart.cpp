#include "hpm/report/charts.h"

namespace hpm {
namespace {

struct Plane {
  double left = 44, right = 0, top = 26, bottom = 0;
  std::vector<double> x_ticks, y_ticks;

  double x(double v) const { return left + (right - left) * (v - x_ticks.front()) / span(x_ticks); }
  double y(double v) const { return bottom - (bottom - top) * (v - y_ticks.front()) / span(y_ticks); }
  static double span(const std::vector<double>& ticks) { return std::max(ticks.back() - ticks.front(), 1e-9); }
};

const std::string& name_of(const ScatterPoint& point, bool narrow) { return narrow ? point.short_name : point.name; }

Plane plane_of(const ScatterChart& chart, double height) {
  const bool narrow = chart.frame.width < kNarrow;
  double name = 0, x_low = 1e9, x_high = -1e9, y_low = 1e9, y_high = -1e9;
  for (const auto& point : chart.points) {
    x_low = std::min(x_low, point.x), x_high = std::max(x_high, point.x);
    y_low = std::min(y_low, point.y), y_high = std::max(y_high, point.y);
    name = std::max(name, text_width(name_of(point, narrow)));
  }
  if (chart.points.empty()) x_low = y_low = 0, x_high = y_high = 100;
  Plane p;
  p.x_ticks = nice_ticks(x_low, x_high, narrow ? 4 : 6), p.y_ticks = nice_ticks(y_low, y_high, 5);
  // The outermost point may be a named one: its name stands right of it.
  p.right = chart.frame.width - std::min(name, chart.frame.width * .3) - 18;
  p.bottom = height - 42;
  return p;
}

void draw_grid(Svg& svg, const ScatterChart& chart, const Plane& p) {
  for (const double tick : p.y_ticks) {
    svg.line(p.left, p.y(tick), p.right, p.y(tick), tick == p.y_ticks.front() ? "axis" : "grid");
    svg.text(p.left - 8, p.y(tick) + 4, fmt::format("{:g}", tick), "soft small", Anchor::end);
  }
  for (const double tick : p.x_ticks) {
    svg.line(p.x(tick), p.top, p.x(tick), p.bottom, tick == p.x_ticks.front() ? "axis" : "grid");
    svg.text(p.x(tick), p.bottom + 17, fmt::format("{:g}", tick), "soft small", Anchor::middle);
  }
  svg.text(0, 12, chart.y_axis, "soft small");
  svg.text((p.left + p.right) / 2, p.bottom + 36, chart.x_axis, "soft small", Anchor::middle);
}

/// Points on the front by rising x, and so by falling y.
std::vector<const ScatterPoint*> front_of(const ScatterChart& chart) {
  std::vector<const ScatterPoint*> front;
  for (const auto& point : chart.points)
    if (point.mark == ScatterPoint::Mark::front) front.push_back(&point);
  std::sort(front.begin(), front.end(),
            [](const auto* a, const auto* b) { return a->x != b->x ? a->x < b->x : a->y > b->y; });
  return front;
}

/// Steps from the left edge down to the lower one: what lies under them is dominated.
void draw_front(Svg& svg, const std::vector<const ScatterPoint*>& front, const Plane& p) {
  if (front.empty()) return;
  std::vector<double> line{p.left, p.y(front.front()->y)};
  for (size_t i = 0; i < front.size(); ++i) {
    line.insert(line.end(), {p.x(front[i]->x), p.y(front[i]->y)});
    line.insert(line.end(), {p.x(front[i]->x), i + 1 < front.size() ? p.y(front[i + 1]->y) : p.bottom});
  }
  svg.path(line, "front");
}

void draw_point(Svg& svg, const ScatterPoint& point, const Plane& p) {
  using Mark = ScatterPoint::Mark;
  svg.open_group(point.title);
  svg.circle(p.x(point.x), p.y(point.y), point.mark == Mark::front ? 5 : 3.2,
             point.tone + (point.mark == Mark::front  ? " fill"
                           : point.mark == Mark::pale ? " point"
                                                      : " ring"));
  svg.close_group();
}

/// Names right of their points, pushed apart: upwards first, where the front leaves the picture empty.
void draw_names(Svg& svg, const std::vector<const ScatterPoint*>& front, const Plane& p, const ChartFrame& frame) {
  constexpr double kGap = 15;
  const bool narrow = frame.width < kNarrow;
  std::vector<std::pair<double, const ScatterPoint*>> names;
  for (const auto* point : front)
    if (!name_of(*point, narrow).empty()) names.emplace_back(p.y(point->y) - 4, point);
  for (size_t i = names.size(); i-- > 1;) names[i - 1].first = std::min(names[i - 1].first, names[i].first - kGap);
  double highest = p.top;
  for (auto& [y, point] : names) y = std::max(y, highest), highest = y + kGap;
  for (const auto& [y, point] : names) {
    const double x = p.x(point->x) + 9;
    if (std::abs(y + 4 - p.y(point->y)) > 8) svg.line(x - 4, p.y(point->y), x, y, "grid");
    svg.text(x, y + 4, fitted(name_of(*point, narrow), frame.width - x - 2), "strong named " + point->tone);
  }
}

}  // namespace

std::string scatter_chart(const ScatterChart& chart) {
  const double height = chart.frame.width < kNarrow ? 320 : 430;
  const auto p = plane_of(chart, height);
  const auto front = front_of(chart);
  Svg svg(chart.frame, height);
  draw_grid(svg, chart, p);
  for (const auto mark : {ScatterPoint::Mark::ring, ScatterPoint::Mark::pale, ScatterPoint::Mark::front}) {
    if (mark == ScatterPoint::Mark::front) draw_front(svg, front, p);
    for (const auto& point : chart.points)
      if (point.mark == mark) draw_point(svg, point, p);
  }
  draw_names(svg, front, p, chart.frame);
  return svg.inline_element();
}

}  // namespace hpm
