#include "hpm/core/progress.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace hpm {
namespace {

std::atomic<bool> interrupted{false};
thread_local std::function<bool()> needless_now;
static_assert(std::atomic<bool>::is_always_lock_free, "the flag is set in a signal handler");

std::string clock_text(double seconds) {
  const auto s = static_cast<int64_t>(seconds + .5);
  return s < 60     ? fmt::format("{}s", s)
         : s < 3600 ? fmt::format("{}m{:02}s", s / 60, s % 60)
                    : fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A full or closed stderr must not end the work: what cannot be said is left unsaid.
void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

AbandonWhen::AbandonWhen(std::function<bool()> needless) { needless_now = std::move(needless); }
AbandonWhen::~AbandonWhen() { needless_now = nullptr; }

void request_interrupt() { interrupted = true; }
bool interrupt_requested() { return interrupted; }

Monitor::Monitor(Style style)
    : quiet_(style != Style::automatic), mute_(style == Style::mute), terminal_(isatty(STDERR_FILENO) != 0) {}

void Monitor::begin(const std::string& task, int64_t total, const std::string& unit) {
  task_ = task, total_ = total, unit_ = unit, note_.clear(), done_ = 0, visible_ = false;
  start_ = drawn_ = std::chrono::steady_clock::now();
}

void Monitor::step(int64_t done, const std::string& note) {
  done_ = done;
  note_ = note;
  tick();
}

void Monitor::tick() {
  if (interrupt_requested()) throw Interrupted("interrupted by the user");
  if (needless_now && needless_now()) throw Abandoned("another worker has done it");
  if (quiet_ || task_.empty()) return;
  const bool due = visible_ ? since(drawn_) > (terminal_ ? .2 : 10.) : since(start_) > 2.;
  if (due) draw(false);
}

void Monitor::end() {
  if (visible_) draw(true);
  visible_ = false;
  task_.clear();
}

void Monitor::draw(bool last) {
  const double elapsed = since(start_);
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  std::string text = fmt::format("{}: {}", task_, done_);
  if (total_ > 0) {
    const double part = static_cast<double>(done_) / static_cast<double>(total_);
    const int filled = static_cast<int>(std::min(part, 1.) * 20);
    if (terminal_) text = fmt::format("{} [{:#<{}}{:.<{}}] {}", task_, "", filled, "", 20 - filled, done_);
    text += fmt::format("/{} {}, {:.0f}%, {:.1f}/s", total_, unit_, 100 * part, rate);
    if (last) text += fmt::format(", {}", clock_text(elapsed));
    else if (rate > 0) text += fmt::format(", {} left", clock_text(static_cast<double>(total_ - done_) / rate));
  } else {
    text += fmt::format(" {}, {}", unit_, clock_text(elapsed));
  }
  if (!note_.empty()) text += ", " + note_;
  put(terminal_ ? fmt::format("\r\033[K{}{}", text, last ? "\n" : "") : text + "\n");
  visible_ = true;
  drawn_ = std::chrono::steady_clock::now();
}

void Monitor::say(const std::string& line) {
  if (!quiet_) put(fmt::format("{}{}\n", terminal_ && visible_ ? "\r\033[K" : "", line));
}

void Monitor::warn(const std::string& line) {
  if (mute_) return;
  put(fmt::format("{}warning: {}\n", terminal_ && visible_ ? "\r\033[K" : "", line));
}

Monitor& silent() {
  static Monitor monitor;
  return monitor;
}

}  // namespace hpm
