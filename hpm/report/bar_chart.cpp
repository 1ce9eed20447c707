#include "hpm/core/error.h"
#include "hpm/report/charts.h"

namespace hpm {
namespace {

/// Where labels, marks and numbers of a row chart go: labels left of the marks, or above them in narrow pictures.
struct RowLayout {
  bool narrow = false;
  double label_width = 0, text_width = 0, left = 0, right = 0, row_height = 0, bar_height = 0, top = 0;

  double row_top(size_t i) const { return top + row_height * static_cast<double>(i); }
  double mark_middle(size_t i) const { return narrow ? row_top(i) + 19 + bar_height / 2 : row_top(i) + row_height / 2; }
  double text_baseline(size_t i) const { return narrow ? row_top(i) + 12 : mark_middle(i) + 4.4; }
};

template <class Row>
RowLayout layout_of(const ChartFrame& frame, const std::vector<Row>& rows, double top) {
  RowLayout out;
  out.narrow = frame.width < kNarrow;
  double label = 0, text = 0;
  for (const auto& row : rows) {
    label = std::max(label, hpm::text_width(row.label));
    text = std::max(text, hpm::text_width(row.text));
  }
  out.top = top;
  out.label_width = out.narrow ? frame.width : std::min(label, frame.width * .34);
  out.text_width = text;
  out.left = out.narrow ? 8 : out.label_width + 14;
  out.right = out.narrow ? frame.width - 8 : frame.width - text - 18;
  if (out.right < out.left + 60) out.right = out.left + 60;
  out.row_height = out.narrow ? 42 : 30;
  out.bar_height = out.narrow ? 13 : 16;
  return out;
}

void draw_labels(Svg& svg, const RowLayout& at, const ChartFrame& frame, size_t i, const std::string& label,
                 const std::string& text) {
  const double room = at.narrow ? frame.width - hpm::text_width(text) - 24 : at.label_width + 8;
  svg.text(at.narrow ? 8 : 0, at.text_baseline(i), fitted(label, room), "strong");
  if (!text.empty()) svg.text(frame.width - (at.narrow ? 8 : 0), at.text_baseline(i), text, "soft", Anchor::end);
}

/// Grid lines and their numbers. In narrow pictures the lines leave room for the labels above the marks.
void draw_axis(Svg& svg, const RowLayout& at, size_t rows, double bottom, const std::vector<double>& ticks,
               const std::function<double(double)>& x, bool signs) {
  for (double tick : ticks) {
    const auto classes = tick == 0 ? (signs ? "zero" : "axis") : "grid";
    if (!at.narrow) svg.line(x(tick), at.top - 2, x(tick), bottom, classes);
    const double half = at.bar_height / 2 + 4;
    for (size_t i = 0; at.narrow && i < rows; ++i)
      svg.line(x(tick), at.mark_middle(i) - half, x(tick), at.mark_middle(i) + half, classes);
    const auto text = signs ? points(tick).substr(0, points(tick).find(".0")) : fmt::format("{:g}", tick);
    svg.text(x(tick), bottom + 15, text, "soft small", Anchor::middle);
  }
}

void draw_bars(Svg& svg, const RowLayout& at, const BarRow& row, size_t i, const std::function<double(double)>& x) {
  const double middle = at.mark_middle(i), top = middle - at.bar_height / 2;
  if (!row.remark.empty()) {
    svg.text(at.left + 6, middle + 4, fitted(row.remark, at.right - at.left), "soft");
    return;
  }
  for (const auto& layer : row.layers) svg.rect(x(0), top, x(layer.value) - x(0), at.bar_height, layer.classes, 1.5);
  if (row.whisker) {
    const double low = x(row.whisker->low), high = x(row.whisker->high);
    svg.line(low, middle, high, middle, "whisker");
    for (double end : {low, high}) svg.line(end, middle - 4, end, middle + 4, "whisker");
  }
  if (row.marker) svg.line(x(*row.marker), top - 3, x(*row.marker), top + at.bar_height + 3, "marker");
}

}  // namespace

std::string bar_chart(const BarChart& chart) {
  require(chart.maximum > 0, "bar_chart: needs a maximum over 0, but got {}", chart.maximum);
  const auto at = layout_of(chart.frame, chart.rows, 4);
  const double bottom = at.row_top(chart.rows.size()) + 2;
  Svg svg(chart.frame, bottom + (chart.axis.empty() ? 22 : 38));
  const auto x = [&](double v) { return at.left + (at.right - at.left) * std::clamp(v / chart.maximum, 0., 1.); };
  auto ticks = nice_ticks(0, chart.maximum, at.narrow ? 4 : 5);
  while (!ticks.empty() && ticks.back() > chart.maximum * 1.0001) ticks.pop_back();
  draw_axis(svg, at, chart.rows.size(), bottom, ticks, x, false);
  if (!chart.axis.empty()) svg.text(at.left, bottom + 32, chart.axis, "soft small");
  for (size_t i = 0; i < chart.rows.size(); ++i) {
    const auto& row = chart.rows[i];
    svg.open_group(row.label + ": " + (row.remark.empty() ? row.text : row.remark));
    draw_labels(svg, at, chart.frame, i, row.label, row.text);
    draw_bars(svg, at, row, i, x);
    svg.close_group();
  }
  return svg.inline_element();
}

std::string interval_chart(const IntervalChart& chart) {
  double low = -1, high = 1;
  for (const auto& row : chart.rows) {
    const auto ends = row.interval.value_or(Interval{row.value, row.value});
    low = std::min({low, ends.low, row.value}), high = std::max({high, ends.high, row.value});
  }
  if (chart.band) low = std::min(low, -*chart.band), high = std::max(high, *chart.band);
  const auto at = layout_of(chart.frame, chart.rows, 22);
  const auto ticks = nice_ticks(low, high, at.narrow ? 5 : 7);
  const double bottom = at.row_top(chart.rows.size()) + 2, first = ticks.front(), last = ticks.back();
  const auto x = [&](double v) { return at.left + (at.right - at.left) * (v - first) / (last - first); };
  Svg svg(chart.frame, bottom + 38);
  if (chart.band) svg.rect(x(-*chart.band), at.top - 2, x(*chart.band) - x(-*chart.band), bottom - at.top + 2, "band");
  draw_axis(svg, at, chart.rows.size(), bottom, ticks, x, true);
  svg.text(at.left, 12, "← " + chart.left, "soft small")
      .text(at.right, 12, chart.right + " →", "soft small", Anchor::end);
  svg.text((at.left + at.right) / 2, bottom + 32, chart.axis, "soft small", Anchor::middle);
  for (size_t i = 0; i < chart.rows.size(); ++i) {
    const auto& row = chart.rows[i];
    svg.open_group(row.label + ": " + row.text);
    draw_labels(svg, at, chart.frame, i, row.label, row.text);
    if (row.interval)
      svg.line(x(row.interval->low), at.mark_middle(i), x(row.interval->high), at.mark_middle(i),
               row.tone + " interval");
    svg.circle(x(row.value), at.mark_middle(i), 5, row.tone + (row.full ? " fill" : " ring"));
    svg.close_group();
  }
  return svg.inline_element();
}

}  // namespace hpm
