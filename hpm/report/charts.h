// defines: bar_chart(), interval_chart(), line_chart(), scatter_chart(), heat_map() and what they draw
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/report/numbers.h"
#include "hpm/report/svg.h"

namespace hpm {

/// One bar over another, from the axis; `classes` are those of the style sheet: a tone (t-base, t-control, t-l2, t-hpm,
/// t-other, t-bad) and a weight (fill, pale, faint).
struct BarLayer {
  double value = 0;
  std::string classes = {};
};

struct BarRow {
  std::string label = {};
  std::vector<BarLayer> layers = {};     ///< drawn in order, so the longest first
  std::optional<Interval> whisker = {};  ///< on the last layer
  std::optional<double> marker = {};     ///< a tick of another model's value
  std::string text = {};                 ///< printed at the end of the row
  std::string remark = {};               ///< instead of bars: why there are none
};

/// Horizontal bars from 0 to `maximum`.
struct BarChart {
  ChartFrame frame = {};
  std::vector<BarRow> rows = {};
  double maximum = 100;
  std::string axis = {};  ///< label of the axis
};
std::string bar_chart(const BarChart& chart);

struct IntervalRow {
  std::string label = {}, tone = {}, text = {};
  double value = 0;
  std::optional<Interval> interval = {};
  bool full = true;  ///< a dot, otherwise a ring
};

/// Differences with their intervals around a zero line, and a band that is too narrow for the sample to resolve.
struct IntervalChart {
  ChartFrame frame = {};
  std::vector<IntervalRow> rows = {};
  std::optional<double> band = {};               ///< half width
  std::string axis = {}, left = {}, right = {};  ///< words under the axis, and for either direction
};
std::string interval_chart(const IntervalChart& chart);

struct LinePoint {
  double x = 0, y = 0;
  std::optional<Interval> interval = {};
};

struct LineSeries {
  std::string name = {}, tone = {};
  std::vector<LinePoint> points = {};  ///< by rising x
  bool band = true;                    ///< intervals as a band, otherwise as error bars
  bool pale = false;                   ///< a thin line behind the others, without points, intervals or a name
};

/// Lines over a common axis, y from 0 to `maximum`. Series are named at their ends.
struct LineChart {
  ChartFrame frame = {};
  std::vector<LineSeries> series = {};
  double maximum = 100;
  std::string x_axis = {}, y_axis = {};
  std::vector<std::pair<double, std::string>> x_ticks = {};  ///< empty: round numbers
};
std::string line_chart(const LineChart& chart);

/// One point of a scatter chart. Those on the front are full, those of another kind are rings.
struct ScatterPoint {
  enum class Mark { pale, front, ring };
  double x = 0, y = 0;
  Mark mark = Mark::pale;
  std::string title = {};  ///< shown on hovering
  std::string tone = "t-base";
  std::string name = {}, short_name = {};  ///< written beside it in wide and in narrow pictures; empty: nothing
};

/// Points of two values that are both better the higher they are. A dashed line separates what the front leaves open
/// from what it dominates.
struct ScatterChart {
  ChartFrame frame = {};
  std::vector<ScatterPoint> points = {};
  std::string x_axis = {}, y_axis = {};
};
std::string scatter_chart(const ScatterChart& chart);

/// A matrix of values in [0, maximum]; darker is more. NaN leaves a cell empty.
struct HeatMap {
  ChartFrame frame = {};
  std::vector<std::string> row_labels = {}, column_labels = {};
  std::vector<double> values = {};  ///< [rows, columns]
  double maximum = 100;
  std::string tone = "t-hpm", row_title = {}, column_title = {};
  std::string diagonal_tone = {};  ///< another colour for row == column
};
std::string heat_map(const HeatMap& map);

}  // namespace hpm
