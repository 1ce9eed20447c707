// defines: Workers
#pragma once
#include <sys/types.h>

#include <memory>
#include <optional>
#include <vector>

#include "command_line.h"
#include "commands/commands.h"
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
  int64_t local_rank() const { return place_.local_rank; }
  /// Threads of each process, where none are asked for: the cores of this machine shared out.
  int64_t threads() const;
  /// Opens the store, and starts the other processes with the same arguments where no launcher has.
  Crew* begin(const Arguments& arguments);
  /// What ends with this process's failure needs no second message: its parent has said it.
  bool speaks() const { return !started_by_hpm_; }

 private:
  void start(int64_t rank, const Arguments& arguments);
  CrewPlace place_;
  bool launched_ = false, started_by_hpm_ = false;
  std::unique_ptr<Crew> crew_;
  std::vector<pid_t> children_;
};

}  // namespace hpm::app
