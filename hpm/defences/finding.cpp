#include "hpm/defences/finding.h"

#include <fmt/format.h>

namespace hpm {

std::string to_string(const Finding& finding, const std::string& seen_from) {
  if (!finding) return {};
  if (finding.radius) return fmt::format("eps {:g}", *finding.radius);
  std::string text = finding.colluders ? fmt::format("colluders {}", *finding.colluders) : finding.surrogate;
  if (!finding.attack.empty()) text += (text.empty() ? "" : "/") + finding.attack;
  if (text.empty()) text = "several attacks";
  const bool elsewhere = finding.target != seen_from;
  if (elsewhere) text += " in " + finding.target;
  if (finding.composed && !elsewhere) text += ", composed";
  return text;
}

}  // namespace hpm
