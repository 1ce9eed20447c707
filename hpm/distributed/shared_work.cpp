#include "hpm/distributed/shared_work.h"

#include <thread>

#include "hpm/core/progress.h"

namespace hpm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{200};  // between two looks whether a piece is still needed
constexpr std::chrono::seconds kFileLag{60};     // until another machine's file must show what the store says

}  // namespace

bool SharedWork::is_done(const std::string& key) { return crew_.find("done/" + key).has_value(); }

/// Does a piece. False where another worker was first.
bool SharedWork::attempt(const std::string& key, size_t i, const std::function<void(size_t)>& write) {
  try {
    auto looked = Clock::now();
    const AbandonWhen guard([&] {
      if (Clock::now() - looked < kLook) return false;
      looked = Clock::now();
      return is_done(key);
    });
    write(i);
  } catch (const Abandoned&) {
    return false;
  }
  return crew_.set_first("done/" + key, std::to_string(crew_.rank())) == std::to_string(crew_.rank());
}

/// The winner's piece counts from now on. Its file may show it later than the store, where machines share a disk.
void SharedWork::fetch(const std::string& key) {
  const auto winner = std::stoll(*crew_.find("done/" + key));
  const auto until = Clock::now() + kFileLag;
  while (!journal_.take_from(winner, key)) {
    if (interrupt_requested()) throw Interrupted("interrupted by the user");
    if (Clock::now() > until)
      fail(
          "worker {} finished the piece {}, but its journal does not show it after {} s; do all workers see the same "
          "run directory?",
          winner, key, kFileLag.count());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void SharedWork::finish(const std::vector<std::string>& keys, const std::function<void(size_t)>& write) {
  for (size_t i = 0; i < keys.size(); ++i)
    if (crew_.add("claimed/" + keys[i], 1) == 1) done_here_ += attempt(keys[i], i, write);
  // Idle workers begin at different pieces.
  const auto first = keys.size() * static_cast<size_t>(crew_.rank()) / static_cast<size_t>(crew_.size());
  for (size_t n = 0; n < keys.size(); ++n) {
    const auto i = (first + n) % keys.size();
    if (!is_done(keys[i]) && attempt(keys[i], i, write)) ++done_here_, ++done_again_;
  }
  for (const auto& key : keys) fetch(key);
}

}  // namespace hpm
