// defines: Monitor, Interrupted, interrupt_requested(), Abandoned, AbandonWhen
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "hpm/core/error.h"

namespace hpm {

/// The user asked to stop (SIGINT, SIGTERM). The program prints the resume command and exits with 130.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// What is being done is needed no longer (AbandonWhen).
class Abandoned : public Error {
 public:
  using Error::Error;
};

/// While it lives, every Monitor asks, in the thread that made this, `needless()` at each step and tick, and throws
/// Abandoned where it says so. One at a time.
class AbandonWhen {
 public:
  explicit AbandonWhen(std::function<bool()> needless);
  ~AbandonWhen();
  AbandonWhen(const AbandonWhen&) = delete;
  AbandonWhen& operator=(const AbandonWhen&) = delete;
};

/// Set by the program's signal handler; library loops see it through Monitor::step.
void request_interrupt();
bool interrupt_requested();

/// What a long operation reports to and is stopped by. Written to stderr: a bar with rate and time left on a terminal,
/// otherwise a line every ten seconds; nothing when quiet or when the operation takes under two seconds.
class Monitor {
 public:
  enum class Style { automatic, quiet, mute };  ///< mute: not even warnings
  explicit Monitor(Style style = Style::quiet);
  virtual ~Monitor() = default;

  /// Starts a task of `total` units (0 = unknown).
  virtual void begin(const std::string& task, int64_t total, const std::string& unit);
  /// `done` units are finished; `note` is shown beside, e.g. "survivors 312". Throws Interrupted when asked to stop.
  virtual void step(int64_t done, const std::string& note = {});
  /// Nothing new is finished, but the work goes on: redraws when due. Throws Interrupted when asked to stop.
  virtual void tick();
  virtual void end();
  /// A line for the user: on stderr, unless quiet.
  virtual void say(const std::string& line);
  /// A warning: on stderr, always.
  virtual void warn(const std::string& line);

 private:
  void draw(bool last);
  bool quiet_, mute_, terminal_;
  std::string task_, unit_, note_;
  int64_t total_ = 0, done_ = 0;
  std::chrono::steady_clock::time_point start_{}, drawn_{};
  bool visible_ = false;
};

/// A silent monitor, for calls that pass none.
Monitor& silent();

}  // namespace hpm
