// defines: make_table(), is_table()
#pragma once
#include <string>
#include <string_view>

#include "hpm/report/comparison_impl.h"

namespace hpm {

/// The comparison's rows as text. `extension`: ".md", ".tex" or ".csv"; anything else is a UsageError. Columns without
/// a single entry are left out, but for CSV, where they always are the same. `caption` of LaTeX (empty: made from data,
/// norm, eps and protocol) and of Markdown (empty: none).
std::string make_table(const Comparison& comparison, const std::string& extension, const std::string& caption = {});

/// Whether a file that begins so was made by make_table.
bool is_table(std::string_view beginning);

}  // namespace hpm
