// defines: percent(), points(), span_text(), p_text(), radius_text(), count_text(), duration_text()
#pragma once
#include <cstdint>
#include <string>

#include "hpm/evaluation/results/statistics.h"

namespace hpm {

using Interval = ConfidenceInterval;

/// How a report writes numbers. Plain ASCII, so that the program can print the same words; typeset() in html.h turns
/// hyphens before digits into minus signs and en dashes.
std::string percent(double value);                 ///< "61.2 %"
std::string one_decimal(double value);             ///< "61.2"; never "-0.0"
std::string points(double difference);             ///< "+0.2", "-1.9", "0.0"
std::string span_text(const Interval& interval);   ///< "57.0-65.4"
std::string range_text(const Interval& interval);  ///< "-1.9 to 2.3", for numbers that may be negative
std::string p_text(double p);                      ///< "p = .83", "p < .001", "p = 1"
std::string radius_text(double eps);               ///< "0.1", "8/255"
std::string count_text(int64_t count);             ///< "51,000"
std::string duration_text(double seconds);         ///< "3.2 s", "1 min 21 s", "2 h 05 min"

}  // namespace hpm
