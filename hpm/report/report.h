// defines: write_report()
#pragma once
#include <string>
#include <vector>

namespace hpm {

/// Reads the runs and writes the page, complete or not at all.
void write_report(const std::vector<std::string>& run_directories, const std::string& html_path,
                  const std::string& title = {});

}  // namespace hpm
