#include "hpm/io/file_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/io/file.h"

namespace hpm {
namespace {

using Json = nlohmann::ordered_json;

std::string this_host() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

std::string text_of(const LockOwner& owner) {
  const Json json{
      {"host", owner.host}, {"pid", owner.pid}, {"job", owner.job}, {"beat", owner.beat}, {"holds", owner.holds}};
  return json_text(json) + "\n";
}

std::string shown(const std::optional<LockOwner>& owner) {
  if (!owner || !owner->holds) return "another process";
  return fmt::format("another process ({}on {}, pid {})", owner->job.empty() ? "" : owner->job + ", ", owner->host,
                     owner->pid);
}

[[noreturn]] void fail_held(const std::string& path) {
  fail("{}: {} is writing there; wait for it, or give another --out", path, shown(lock_owner(path)));
}

/// Whether a record's process of this machine has ended. (A process of another user is there too: EPERM.)
bool has_ended(const LockOwner& owner) {
  return owner.host == this_host() && ::kill(static_cast<pid_t>(owner.pid), 0) != 0 && errno == ESRCH;
}

/// The record, where another machine may be writing it at this moment.
std::optional<LockOwner> settled_owner(const std::string& path) {
  auto owner = lock_owner(path);
  for (int again = 0; !owner && again < 3 && !beginning_of_file(path, 1).empty(); ++again) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    owner = lock_owner(path);
  }
  return owner;
}

/// Whether a process whose lock the system does not show is alive: its record changes while it is looked at.
bool gives_signs(const std::string& path, const LockOwner& owner, const LockOptions& options) {
  if (!owner.holds || has_ended(owner)) return false;
  if (std::time(nullptr) - owner.beat > options.old.count()) return false;
  options.monitor.say(fmt::format("{}: {} may be writing there: looks for {} s whether it gives a sign of life", path,
                                  shown(owner), options.watch.count()));
  constexpr std::chrono::milliseconds kLook{200};
  for (std::chrono::milliseconds waited{0}; waited < options.watch; waited += kLook) {
    if (interrupt_requested()) throw Interrupted("interrupted by the user");
    std::this_thread::sleep_for(kLook);
    // While it is being written the file may be no record.
    if (const auto now = lock_owner(path); now && *now != owner) return now->holds;
  }
  return false;
}

}  // namespace

Flock flock_outcome(int error) {
  return error == 0 ? Flock::taken : error == EWOULDBLOCK ? Flock::held : Flock::unavailable;
}

Flock try_flock(int descriptor) {
  while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0)
    if (errno != EINTR) return flock_outcome(errno);
  return Flock::taken;
}

std::optional<LockOwner> lock_owner(const std::string& path) {
  const auto json = nlohmann::json::parse(beginning_of_file(path, 4096), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    return LockOwner{.host = json.at("host").get<std::string>(),
                     .pid = json.at("pid").get<int64_t>(),
                     .job = json.at("job").get<std::string>(),
                     .beat = json.at("beat").get<int64_t>(),
                     .holds = json.at("holds").get<bool>()};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

/// The open file, and the thread that writes signs of life into it. A sign that cannot be written is left out: where
/// the disk is full the run's own files say so.
class FileLock::Holding {
 public:
  Holding(const std::string& path, const LockOptions& options)
      : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)),
        us_{.host = this_host(), .pid = ::getpid(), .job = options.job} {
    if (descriptor_ < 0) fail("{}: cannot be made: {}", path, std::generic_category().message(errno));
    try {
      take(path, options);
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
    beating_ = std::thread([this, every = options.beat] { beat(every); });
  }

  ~Holding() {
    {
      const std::lock_guard guard(mutex_);
      ends_ = true;
    }
    end_.notify_all();
    beating_.join();
    us_.holds = false;
    write();
    ::close(descriptor_);
  }
  Holding(const Holding&) = delete;
  Holding& operator=(const Holding&) = delete;

 private:
  void take(const std::string& path, const LockOptions& options) {
    const auto lock = try_flock(descriptor_);
    if (lock == Flock::held) fail_held(path);
    const auto there = settled_owner(path);
    const bool system_knows = lock == Flock::taken && there && there->host == us_.host;
    if (there && !system_knows && gives_signs(path, *there, options)) fail_held(path);
    write();
    if (lock == Flock::taken) return;
    options.monitor.warn(
        fmt::format("{}: this file system has no locks; a record in the file, renewed every {} s, stands for one", path,
                    options.beat.count()));
    std::this_thread::sleep_for(std::chrono::seconds(1));  // for who may have written at the same moment
    const auto now = lock_owner(path);
    if (now && (now->host != us_.host || now->pid != us_.pid)) fail_held(path);
  }

  void write() {
    us_.beat = std::time(nullptr);
    const auto text = text_of(us_);
    if (::pwrite(descriptor_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
        ::ftruncate(descriptor_, static_cast<off_t>(text.size())) != 0)
      return;
    ::fdatasync(descriptor_);  // other machines see what has left this one
  }

  void beat(std::chrono::seconds every) {
    std::unique_lock lock(mutex_);
    while (!end_.wait_for(lock, every, [this] { return ends_; })) write();
  }

  int descriptor_;
  LockOwner us_;
  std::mutex mutex_;
  std::condition_variable end_;
  bool ends_ = false;
  std::thread beating_;
};

FileLock::FileLock(const std::string& path, const LockOptions& options)
    : holding_(std::make_unique<Holding>(path, options)) {}
FileLock::~FileLock() = default;
FileLock::FileLock(FileLock&&) noexcept = default;

}  // namespace hpm
