// defines: GalleryImages, RunFiles, make_report(), read_run()
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hpm/report/report.h"

namespace hpm {

/// Images in [0,1], both [count, channels, height, width], in the order of results.json's gallery.
struct GalleryImages {
  std::vector<float> original, adversarial;
  int64_t count = 0, channels = 0, height = 0, width = 0;
};

/// What a run directory holds, as far as a report shows it.
struct RunFiles {
  std::string directory;       ///< as it is named in the report
  nlohmann::json results;      ///< results.json (docs/results-format.md), or analysis.json (docs/analysis.md)
  nlohmann::json environment;  ///< environment.json; null: none
  std::string config;          ///< config.toml; empty: none
  GalleryImages gallery;       ///< gallery.safetensors; count = 0: none
  std::string label = {};      ///< what the user calls the run; empty: nothing
};

/// Reads results.json (or else analysis.json) and, where they exist, the other files; a page of many runs does without
/// their galleries. Throws Error naming the file that cannot be read.
RunFiles read_run(const std::string& directory, bool with_gallery = true);

/// One self-contained HTML page, with the verdict first: a report on one run, or a comparison of several (base,
/// control, l2 and HPM side by side, told apart by the field "role"). Runs of hpm analyze have
/// sections of their own. From kManyRuns runs on the page begins with an overview. An empty title names the page after
/// what was evaluated. `reference`: as ReportOptions.
std::string make_report(const std::vector<RunFiles>& runs, const std::string& title = {},
                        const std::string& reference = {});

}  // namespace hpm
