// defines: declare_workers(), require_alone(), Workers
#pragma once
#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "command_line.h"
#include "commands/commands.h"
#include "hpm/core/device.h"
#include "hpm/distributed/crew.h"
#include "hpm/evaluation/results/run_directory.h"

namespace hpm::app {

/// --workers.
void declare_workers(Fields& f, int64_t& workers);

/// Throws UsageError where a launcher has started this process among several: the verb shares no work, so each of them
/// would do all of it.
void require_alone(const std::string& verb);

/// The processes that share a run: those that a launcher (torchrun, srun) started, or `--workers N` of this
/// machine, of which this one is the first and starts the others.
class Workers {
 public:
  /// `asked`: --workers. Throws UsageError where a launcher has started this process and more are asked for.
  Workers(int64_t asked, CommandLine& line);
  /// Those that were started end: at once where this one failed, else when they are done.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  bool first() const { return place_.rank == 0; }
  int64_t size() const { return place_.size; }
  /// The cores of this machine shared out, where no number of threads is asked for; "cuda" becomes the GPU of this
  /// process. Warns of more workers than GPUs.
  void share_machine(ComputeOptions& compute, Monitor& monitor) const;
  /// Opens the store, starts the other processes with the same arguments where no launcher has, and does the work: in
  /// the first process `first`, which opens the run's folder, writes and prints (no crew: it is alone); in the others
  /// `other`, as soon as the folder is there. Gives the exit status: that of `first`, but where torchrun would take
  /// "finished but suspect" (3) for a failure, 0 and a sentence; of the others 0 where the run came to its end.
  int share(const Arguments& arguments, const std::function<int(Crew* crew)>& first,
            const std::function<void(const RunDirectory& run, Crew& crew)>& other);
  /// Tells the others the folder that the first process has opened.
  void opened(const RunDirectory& run);

 private:
  Crew* begin(const Arguments& arguments);
  int join(const std::function<void(const RunDirectory&, Crew&)>& other);
  int said_to_launcher(int status) const;
  int64_t threads() const;
  void start(int64_t rank, const Arguments& arguments);
  std::string verb_;
  CrewPlace place_;
  bool launched_ = false, started_by_hpm_ = false;
  std::unique_ptr<Crew> crew_;
  std::vector<pid_t> children_;
};

}  // namespace hpm::app
