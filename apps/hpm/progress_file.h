// defines: Progress, read_progress(), is_alive(), ProgressFile
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "hpm/core/progress.h"

namespace hpm::app {

/// What a process that works on a run says of itself: `progress.json` in the run's folder.
struct Progress {
  int64_t pid = 0;
  std::string host, verb;
  std::string task, unit, note;  ///< what is being done, of which there are `total` units; beside it, as Monitor shows
  int64_t done = 0, total = 0;   ///< total 0: unknown
  int64_t time = 0;              ///< when this was written, in seconds since 1970, UTC
  bool running = true;           ///< false: the process has left the run in good order

  /// Percent of the task; none where its size is unknown.
  std::optional<int> percent() const;
  /// "apgd-ce, 430 of 1000 images, survivors 312"
  std::string words() const;
};

/// None where there is no such file, or it is not one that hpm wrote. Never throws.
std::optional<Progress> read_progress(const std::string& folder);

/// Whether the process still works on the run, as far as its number and the age of its last word can tell: on this
/// machine it must be there and have spoken within an hour, on another one within ten minutes.
bool is_alive(const Progress& progress);

/// Seconds since 1970, UTC.
int64_t now_in_seconds();

/// Hands everything on to another monitor, and keeps `progress.json` of a run: at most once a second, complete or not
/// at all, without waiting for the disk. What cannot be written is left out: progress must not end the work.
class ProgressFile : public Monitor {
 public:
  ProgressFile(std::unique_ptr<Monitor> shown, const std::string& folder, const std::string& verb);
  ~ProgressFile() override;  ///< says that the process has left the run
  void begin(const std::string& task, int64_t total, const std::string& unit) override;
  void step(int64_t done, const std::string& note = {}) override;
  void tick() override;
  void end() override;
  void say(const std::string& line) override { shown_->say(line); }
  void warn(const std::string& line) override { shown_->warn(line); }

 private:
  void write_when_due();
  void write();
  std::unique_ptr<Monitor> shown_;
  std::string file_;
  Progress progress_;
  std::chrono::steady_clock::time_point written_{};
};

}  // namespace hpm::app
