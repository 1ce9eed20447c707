// defines: ChartFrame, Svg, nice_ticks()
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace hpm {

/// What every chart has. `description` is what a reader who cannot see the picture is told.
struct ChartFrame {
  std::string title, description;
  double width = 720;  ///< of the viewBox; charts under kNarrow put labels above the marks
};
inline constexpr double kNarrow = 480;

enum class Anchor { start, middle, end };

/// An SVG picture under construction. Marks carry classes, never colours: the page's style sheet (html.h) gives each
/// class its colour through CSS variables, so that a picture follows the reader's light or dark theme.
class Svg {
 public:
  Svg(const ChartFrame& frame, double height);

  Svg& rect(double x, double y, double width, double height, std::string_view classes, double radius = 0);
  Svg& line(double x1, double y1, double x2, double y2, std::string_view classes);
  Svg& circle(double x, double y, double radius, std::string_view classes);
  /// A polyline, or a filled area with `closed`, through x0, y0, x1, y1, ...
  Svg& path(const std::vector<double>& coordinates, std::string_view classes, bool closed = false);
  /// `text` is escaped.
  Svg& text(double x, double y, std::string_view text, std::string_view classes, Anchor anchor = Anchor::start);
  /// Opens a group whose title browsers show on hovering.
  Svg& open_group(std::string_view title);
  Svg& close_group();

  /// The element, for use inside a page.
  std::string inline_element() const;

 private:
  std::string head_, body_;
};

/// An SVG element as a file of its own, light theme.
std::string svg_file(const std::string& inline_element);

/// About `count` round numbers that cover [low, high], ends included.
std::vector<double> nice_ticks(double low, double high, int count = 5);

/// A width that `text` will not exceed at the charts' font size.
double text_width(std::string_view text);

/// `text` cut to `width` with an ellipsis.
std::string fitted(const std::string& text, double width);

}  // namespace hpm
