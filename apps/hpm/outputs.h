// defines: require_free(), RunKind, write_run_report()
#pragma once
#include <functional>
#include <string>

#include "hpm/evaluation/results/run_directory.h"

namespace hpm::app {

/// Throws UsageError, naming `flag`, where `path` holds something that hpm did not write itself, unless `force`. What
/// `ours` recognises by its beginning and end, empty files, devices and FIFOs may be written to.
void require_free(const std::string& flag, const std::string& path, bool force,
                  const std::function<bool(const std::string& path)>& ours);

enum class RunKind { evaluation, study };

/// Writes report.html, and the charts of a study, into the folder of a run whose results are written. An error there
/// must not hide them: it is said on stderr, with the file that holds the results, and false is returned.
bool write_run_report(const RunDirectory& run, RunKind kind);

}  // namespace hpm::app
