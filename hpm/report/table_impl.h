// defines: make_table()
#pragma once
#include <string>

#include "hpm/report/comparison_impl.h"

namespace hpm {

/// The comparison's rows as text. `extension`: ".md", ".tex" or ".csv"; anything else is a UsageError.
std::string make_table(const Comparison& comparison, const std::string& extension);

}  // namespace hpm
