// defines: Workers
#pragma once
#include <sys/types.h>

#include <memory>
#include <optional>
#include <vector>

#include "command_line.h"
#include "commands/commands.h"
#include "hpm/core/device.h"
#include "hpm/distributed/crew.h"

namespace hpm::app {

/// The processes that share an evaluation: those that a launcher (torchrun, srun) started, or `--workers N` of this
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
  /// process.
  void share_machine(ComputeOptions& compute) const;
  /// Opens the store, and starts the other processes with the same arguments where no launcher has.
  Crew* begin(const Arguments& arguments);
  /// What ends with this process's failure needs no second message: its parent has said it.
  bool speaks() const { return !started_by_hpm_; }

 private:
  int64_t threads() const;
  void start(int64_t rank, const Arguments& arguments);
  CrewPlace place_;
  bool launched_ = false, started_by_hpm_ = false;
  std::unique_ptr<Crew> crew_;
  std::vector<pid_t> children_;
};

}  // namespace hpm::app
