#include "hpm/defences/finding.h"

#include <fmt/format.h>

namespace hpm {

std::string to_string(const Finding& finding, const std::string& seen_from) {
  if (!finding) return {};
  std::string text = finding.colluders ? fmt::format("colluders {}", *finding.colluders) : finding.surrogate;
  if (!finding.attack.empty()) text += (text.empty() ? "" : "/") + finding.attack;
  if (text.empty() && !finding.radius) text = "several attacks";
  const bool elsewhere = finding.target != seen_from;
  if (elsewhere) text += " in " + finding.target;
  if (finding.composed && !elsewhere) text += ", composed";
  if (finding.radius) text += fmt::format("{}eps {:g}", text.empty() ? "" : ", ", *finding.radius);
  return text;
}

}  // namespace hpm
