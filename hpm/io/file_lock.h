// defines: FileLock, LockOwner, LockOptions, lock_owner(), Flock, flock_outcome(), try_flock()
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "hpm/core/progress.h"

namespace hpm {

/// What the system says of a lock on an open file (flock).
enum class Flock {
  taken,
  held,        ///< by another process
  unavailable  ///< the file system has none: Lustre without -o flock (ENOSYS), NFS without its lock service (ENOLCK)
};
/// What flock() gave: 0, or the errno of its failure.
Flock flock_outcome(int error);
/// Tries to lock an open file for this process alone; does not wait.
Flock try_flock(int descriptor);

/// What a lock file says of the process that made it or holds it.
struct LockOwner {
  std::string host;
  int64_t pid = 0;
  std::string job;    ///< of the launcher; "" where there is none
  int64_t beat = 0;   ///< seconds since 1970: its last sign of life, by its own clock
  bool holds = true;  ///< false: it has let go
  bool operator==(const LockOwner&) const = default;
};
/// None for a file that is missing, empty or something else.
std::optional<LockOwner> lock_owner(const std::string& path);

struct LockOptions {
  std::string job = {};            ///< of this process, for others to read
  Monitor& monitor = silent();     ///< told where there is a wait, and where the file system has no locks
  std::chrono::seconds beat{5};    ///< between two signs of life
  std::chrono::seconds watch{20};  ///< for which another machine's process must give no sign of life
  std::chrono::seconds old{300};   ///< of a sign that is so old, none is waited for
};

/// A file that at most one process holds. On one machine the system releases it when the process ends, however that
/// happens. Of two machines that share a disk the system may know nothing of each other's locks: so the holder writes
/// host, process and job into the file, and a sign of life every five seconds. A record without one is a dead
/// process's. (Two machines whose file system has no locks, and that start within the same second, may both believe to
/// hold it.)
class FileLock {
 public:
  /// Makes the file where it is missing. Throws Error where another process holds it, or it cannot be made.
  explicit FileLock(const std::string& path, const LockOptions& options = {});
  ~FileLock();
  FileLock(FileLock&&) noexcept;
  FileLock& operator=(FileLock&&) = delete;

 private:
  class Holding;
  std::unique_ptr<Holding> holding_;
};

}  // namespace hpm
