#include "hpm/io/file_lock.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <ctime>
#include <thread>

#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

/// The words that a lock says to its user.
class Heard : public Monitor {
 public:
  void say(const std::string& line) override { lines.push_back(line); }
  void warn(const std::string& line) override { lines.push_back(line); }
  std::vector<std::string> lines;
};

class FileLockTest : public testing::Test {
 protected:
  /// What a process on another machine would have written.
  void write_record(const std::string& host, int64_t beat, bool holds = true) const {
    const nlohmann::json record{
        {"host", host}, {"pid", 4711}, {"job", "Slurm job 12"}, {"beat", beat}, {"holds", holds}};
    std::ofstream(folder / "next") << record.dump() << "\n";
    std::filesystem::rename(folder / "next", path);  // a reader sees one record or the other
  }
  static int64_t now() { return std::time(nullptr); }

  test::TemporaryFolder folder;
  const std::string path = (folder / "lock").string();
};

TEST_F(FileLockTest, IsHeldByOneWhoseProcessAndJobTheOtherReads) {
  {
    const FileLock held(path, {.job = "Slurm job 77"});
    const auto text = message_of<Error>([&] { FileLock second(path); });
    EXPECT_NE(
        text.find(fmt::format("another process (Slurm job 77, on {}, pid {})", lock_owner(path)->host, ::getpid())),
        std::string::npos)
        << text;
    EXPECT_TRUE(lock_owner(path)->holds);
  }
  EXPECT_FALSE(lock_owner(path)->holds);
  EXPECT_EQ(lock_owner(path)->job, "Slurm job 77") << "a restart sees whose the run was";
  FileLock again(path);
  EXPECT_EQ(lock_owner(path)->job, "");
}

TEST_F(FileLockTest, GivesSignsOfLifeWhileItIsHeld) {
  const FileLock held(path, {.beat = std::chrono::seconds(1)});
  const auto before = lock_owner(path)->beat;
  const auto shown = [&] { return lock_owner(path).value_or(LockOwner{.beat = before}).beat; };
  for (int i = 0; i < 100 && shown() == before; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_GT(shown(), before);
}

TEST_F(FileLockTest, OfAnotherMachineThatGivesSignsIsRefused) {
  write_record("elsewhere", now());
  std::atomic<bool> ends = false;
  std::thread beats([&] {
    for (int64_t beat = now(); !ends; std::this_thread::sleep_for(std::chrono::milliseconds(200)))
      write_record("elsewhere", ++beat);
  });
  Heard heard;
  const auto text = message_of<Error>([&] { FileLock second(path, {.monitor = heard}); });
  ends = true;
  beats.join();
  EXPECT_NE(text.find("is writing there"), std::string::npos) << text;
  ASSERT_EQ(heard.lines.size(), 1u) << "a wait is said";
  EXPECT_NE(heard.lines[0].find("Slurm job 12, on elsewhere, pid 4711"), std::string::npos) << heard.lines[0];
}

TEST_F(FileLockTest, OfADeadProcessOfAnotherMachineIsTaken) {
  const auto seconds_to_take = [&] {
    const auto start = std::chrono::steady_clock::now();
    const FileLock taken(path, {.watch = std::chrono::seconds(2)});
    EXPECT_NE(lock_owner(path)->host, "elsewhere");
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  write_record("elsewhere", now());
  EXPECT_GE(seconds_to_take(), 1.9) << "its last sign is fresh: another one is waited for";
  write_record("elsewhere", now() - 3600);
  EXPECT_LT(seconds_to_take(), 1.5) << "an old one is not";
  write_record("elsewhere", now(), false);
  EXPECT_LT(seconds_to_take(), 1.5) << "nor one that has let go";
  std::ofstream(path) << "{\"host\":";
  EXPECT_LT(seconds_to_take(), 1.5) << "nor what is no record";
}

TEST_F(FileLockTest, OfADeadProcessOfThisMachineIsTakenAtOnce) {
  { const FileLock held(path); }
  write_record(lock_owner(path)->host, now());
  const auto start = std::chrono::steady_clock::now();
  const FileLock taken(path);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5))
      << "the system knows that nobody holds it";
}

TEST(Flock, FailuresAreToldApart) {
  EXPECT_EQ(flock_outcome(0), Flock::taken);
  EXPECT_EQ(flock_outcome(EWOULDBLOCK), Flock::held);
  EXPECT_EQ(flock_outcome(ENOSYS), Flock::unavailable) << "Lustre without -o flock";
  EXPECT_EQ(flock_outcome(ENOLCK), Flock::unavailable) << "NFS without its lock service";
}

}  // namespace
}  // namespace hpm
