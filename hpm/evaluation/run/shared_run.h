// defines: RunPlace, SharedRun, was_finished()
#pragma once
#include <optional>

#include "hpm/core/progress.h"
#include "hpm/distributed/shared_work.h"
#include "hpm/evaluation/results/fingerprint.h"
#include "hpm/evaluation/results/run_directory.h"

namespace hpm {

/// Where a run keeps its work, and who does it.
struct RunPlace {
  const RunDirectory& run;
  bool resume = false;     ///< finished pieces of work are taken from there
  Crew* crew = nullptr;    ///< processes that were started with the same arguments and share the work
  int64_t batch_size = 0;  ///< pieces of work are cut by it, so all of them need the same
};

/// The journal of a run, of one process or of several that share it. Every process does the same with the log.
class SharedRun {
 public:
  /// The first process begins the run or goes on with it, the others join it. Throws Error where the run was begun with
  /// other settings than these, or where a process would not do the same work as the first one.
  SharedRun(const Fingerprint& settings, const RunPlace& place, Monitor& monitor);
  WorkLog log();
  /// A note for the results if another build made some pieces; otherwise empty.
  const std::string& other_build() const { return other_build_; }
  /// The end of the work. The first process leaves a mark in the run directory that it has got there. It holds the
  /// store, and stays for some seconds until the others have read the last piece.
  void end();

 private:
  Monitor& monitor_;
  const RunDirectory& run_;
  Crew* crew_;
  std::string other_build_;
  int64_t workers_ = 1;  // that the pieces are cut for: as many as the run was begun with
  std::optional<Journal> journal_;
  std::optional<SharedWork> team_;
};

/// Whether the first process of this crew has come to the end of the work, so that one who finds its store gone is late
/// and no more. Looks for some seconds, as another machine's file may show late.
bool was_finished(const RunDirectory& run, const Crew& crew);

}  // namespace hpm
