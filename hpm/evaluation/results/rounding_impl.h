// defines: rounded()
#pragma once
#include <cmath>
#include <optional>

#include "hpm/evaluation/results/statistics.h"

namespace hpm {

// Figures as results.json holds them: six decimals.

inline double rounded(double value) { return std::round(value * 1e6) / 1e6; }
inline std::optional<double> rounded(const std::optional<double>& value) {
  return value ? std::optional(rounded(*value)) : std::nullopt;
}
inline ConfidenceInterval rounded(const ConfidenceInterval& i) { return {rounded(i.low), rounded(i.high)}; }

}  // namespace hpm
