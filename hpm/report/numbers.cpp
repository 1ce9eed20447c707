#include "hpm/report/numbers.h"

#include <cstdlib>

namespace hpm {

std::string one_decimal(double value) {
  const double rounded = std::round(value * 10) / 10;
  return fmt::format("{:.1f}", rounded == 0 ? 0. : rounded);
}

std::string percent(double value) { return one_decimal(value) + " %"; }

std::string points(double difference) {
  const auto text = one_decimal(difference);
  return text == "0.0" || text.front() == '-' ? text : "+" + text;
}

std::string span_text(const Interval& interval) { return one_decimal(interval.low) + "-" + one_decimal(interval.high); }

std::string range_text(const Interval& interval) {
  return one_decimal(interval.low) + " to " + one_decimal(interval.high);
}

std::string p_text(double p) {
  if (p < .001) return "p < .001";
  if (p > .995) return "p = 1";
  const auto digits = fmt::format("{:.{}f}", p, p < .01 ? 3 : 2);
  return "p = " + digits.substr(digits.front() == '0' ? 1 : 0);
}

std::string radius_text(double eps) {
  const double parts = eps * 255;
  const auto decimal = fmt::format("{:.3g}", eps);
  // strtod, since stod throws for numbers near 0; beyond a million the quotient would say nothing.
  const bool quotient = parts > .5 && parts < 1e6 && std::abs(parts - std::round(parts)) < 1e-6 * parts;
  if (quotient && std::strtod(decimal.c_str(), nullptr) != eps) return fmt::format("{}/255", std::lround(parts));
  return fmt::format("{:.6g}", eps);
}

std::string count_text(int64_t count) {
  const auto digits = fmt::format("{}", count);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool group = i > 0 && digits[i - 1] != '-' && (digits.size() - i) % 3 == 0;
    if (group) out += ',';
    out += digits[i];
  }
  return out;
}

std::string duration_text(double seconds) {
  if (seconds < 59.95) return one_decimal(seconds) + " s";
  const auto s = std::llround(seconds);
  return s < 3600 ? fmt::format("{} min {:02} s", s / 60, s % 60)
                  : fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
}

}  // namespace hpm
