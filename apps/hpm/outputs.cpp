#include "outputs.h"

#include <filesystem>

#include "hpm/core/error.h"
#include "hpm/core/progress.h"
#include "hpm/io/file.h"
#include "hpm/report/report.h"
#include "standard_streams.h"

namespace hpm::app {

void require_free(const std::string& flag, const std::string& path, bool force,
                  const std::function<bool(const std::string& path)>& ours) {
  if (force || is_replaceable(path) || std::filesystem::is_directory(path) || ours(path)) return;
  fail_usage("{}: {} exists, and hpm did not write it; give --force to replace it, or another name", flag, path);
}

bool write_run_report(const RunDirectory& run, RunKind kind) {
  try {
    if (kind == RunKind::study) write_analysis_charts(run.path());
    write_report({run.path()}, run.file("report.html"));
    return true;
  } catch (const Interrupted&) {
    throw;
  } catch (const std::exception& error) {
    say_error(
        fmt::format("the report was not written: {}\nthe results are complete in {}; hpm report {} --html FILE "
                    "makes the report from them",
                    error.what(), run.file(kind == RunKind::study ? "analysis.json" : "results.json"), run.path()));
    return false;
  }
}

}  // namespace hpm::app
