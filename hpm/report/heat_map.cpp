#include "hpm/core/error.h"
#include "hpm/report/charts.h"

namespace hpm {

std::string heat_map(const HeatMap& map) {
  const auto rows = map.row_labels.size(), columns = map.column_labels.size();
  require(map.values.size() == rows * columns, "heat_map: needs {} x {} values, but got {}", rows, columns,
          map.values.size());
  require(map.maximum > 0, "heat_map: needs a maximum over 0, but got {}", map.maximum);
  const bool narrow = map.frame.width < kNarrow;
  double label = 0;
  for (const auto& text : map.row_labels) label = std::max(label, text_width(text));
  label = std::min(label, map.frame.width * (narrow ? .22 : .25)) + 8;
  const double top = map.column_title.empty() ? 22 : 40;
  const double cell_width = (map.frame.width - label) / static_cast<double>(std::max<size_t>(columns, 1));
  const double cell_height = narrow ? 24 : 27;
  Svg svg(map.frame, top + cell_height * static_cast<double>(rows) + 4);
  if (!map.column_title.empty()) svg.text(map.frame.width, 12, map.column_title, "soft small", Anchor::end);
  if (!map.row_title.empty()) svg.text(0, 12, map.row_title, "soft small");
  for (size_t c = 0; c < columns; ++c)
    svg.text(label + cell_width * (static_cast<double>(c) + .5), top - 8, fitted(map.column_labels[c], cell_width + 2),
             "soft small", Anchor::middle);
  for (size_t r = 0; r < rows; ++r) {
    const double y = top + cell_height * static_cast<double>(r);
    svg.text(label - 8, y + cell_height / 2 + 4, fitted(map.row_labels[r], label - 8), "", Anchor::end);
    for (size_t c = 0; c < columns; ++c) {
      const double value = map.values[r * columns + c], share = std::clamp(value / map.maximum, 0., 1.);
      const double x = label + cell_width * static_cast<double>(c);
      if (std::isnan(value)) continue;
      // Opacity in ten steps of the style sheet: classes, because a content security policy may forbid style
      // attributes.
      const auto& tone = r == c && !map.diagonal_tone.empty() ? map.diagonal_tone : map.tone;
      svg.open_group(
          fmt::format("{} → {}: {:g}", map.row_labels[r], map.column_labels[c], std::round(value * 10) / 10));
      svg.rect(x, y, cell_width, cell_height, fmt::format("{} fill cell o{}", tone, std::lround(share * 10)));
      if (std::round(value) > 0)
        svg.text(x + cell_width / 2, y + cell_height / 2 + 4, fmt::format("{:.0f}", value),
                 share > .75 ? "small on" : "small", Anchor::middle);
      svg.close_group();
    }
  }
  return svg.inline_element();
}

}  // namespace hpm
