#include "hpm/distributed/shared_work.h"

#include <set>
#include <thread>

#include "hpm/core/progress.h"
#include "support/support.h"

namespace hpm {
namespace {

/// One worker of a crew, on threads of this process.
struct Worker {
  Worker(const test::TemporaryFolder& folder, int64_t rank, int64_t size, uint16_t port)
      : crew({rank, size, rank, "127.0.0.1", port}),
        journal(folder.path, "print", rank > 0, rank),
        team(crew, journal) {}
  Crew crew;
  Journal journal;
  SharedWork team;
};

std::vector<PieceOfWork> twelve() { return WorkLog().pieces("piece", at::arange(36), 3); }

class SharedWorkTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
    first_ = std::make_unique<Worker>(folder_, 0, 2, uint16_t{0});
    second_ = std::make_unique<Worker>(folder_, 1, 2, first_->crew.port());
  }
  /// What a worker takes, in order; it notes which pieces it did.
  std::vector<int64_t> run(Worker& worker, std::set<size_t>& did, std::chrono::milliseconds slow) {
    std::vector<int64_t> taken;
    const WorkLog log(worker.journal, &worker.team, 2);
    const auto pieces = twelve();
    log.each(
        pieces,
        [&](size_t i) -> NamedTensors {
          Monitor monitor;
          for (auto left = slow; left.count() > 0; left -= std::chrono::milliseconds(5)) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            monitor.tick();
          }
          did.insert(i);
          return {{"sum", pieces[i].rows.sum()}, {"by", torch::tensor({worker.crew.rank()})}};
        },
        [&](size_t, const NamedTensors& done) {
          taken.push_back(find_tensor(done, "sum").item<int64_t>());
          by_[static_cast<size_t>(worker.crew.rank())].push_back(find_tensor(done, "by").item<int64_t>());
        });
    return taken;
  }
  static std::vector<int64_t> sums() {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < 12; ++i) all.push_back(9 * i + 3);
    return all;
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Worker> first_, second_;
  std::vector<int64_t> by_[2];
};

TEST_F(SharedWorkTest, EveryPieceCountsOnceAndBothTakeTheSame) {
  std::set<size_t> did[2];
  std::vector<int64_t> other;
  std::thread thread([&] { other = run(*second_, did[1], std::chrono::milliseconds(20)); });
  const auto ours = run(*first_, did[0], std::chrono::milliseconds(20));
  thread.join();
  EXPECT_EQ(ours, sums());
  EXPECT_EQ(other, sums());
  EXPECT_EQ(by_[0], by_[1]) << "both read the same worker's piece";
  EXPECT_EQ(first_->team.done_here() + second_->team.done_here(), 12);
  EXPECT_GE(did[0].size(), 3u);
  EXPECT_GE(did[1].size(), 3u);
  EXPECT_LE(did[0].size() + did[1].size(), 13u) << "at most the last piece is done twice";
}

TEST_F(SharedWorkTest, ASlowWorkerHoldsNobodyUp) {
  std::set<size_t> did[2];
  std::vector<int64_t> other;
  const auto begun = std::chrono::steady_clock::now();
  std::thread thread([&] { other = run(*second_, did[1], std::chrono::milliseconds(3000)); });
  const auto ours = run(*first_, did[0], std::chrono::milliseconds(50));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  thread.join();
  EXPECT_EQ(ours, sums());
  EXPECT_EQ(other, sums());
  EXPECT_EQ(did[1].size(), 0u) << "it gave its piece up";
  EXPECT_EQ(first_->team.done_again(), 1);
  EXPECT_LT(took.count(), 2.5) << "twelve pieces of 50 ms, not one of 3 s";
}

TEST_F(SharedWorkTest, WhatADeadWorkerClaimedIsDoneByAnother) {
  Worker& dead = *second_;
  struct Claim : Team {
    void finish(const std::vector<std::string>& all, const std::function<void(size_t)>&) override { keys = all; }
    std::vector<std::string> keys;
  } names;
  const WorkLog naming(first_->journal, &names, 2);
  try {
    naming.each(
        twelve(), [](size_t) { return NamedTensors{}; }, [](size_t, const NamedTensors&) {});
  } catch (const Error&) {
  }
  ASSERT_EQ(names.keys.size(), 12u);
  for (size_t i = 0; i < 5; ++i) dead.crew.add("claimed/" + names.keys[i], 1);
  second_.reset();
  std::set<size_t> did;
  EXPECT_EQ(run(*first_, did, std::chrono::milliseconds(0)), sums());
  EXPECT_EQ(did.size(), 12u);
  EXPECT_EQ(first_->team.done_again(), 5);
}

TEST_F(SharedWorkTest, AnyNumberOfWorkersGoesOnFromAllJournals) {
  std::set<size_t> did[2];
  std::thread thread([&] { run(*second_, did[1], std::chrono::milliseconds(20)); });
  run(*first_, did[0], std::chrono::milliseconds(20));
  thread.join();
  first_.reset(), second_.reset();
  Journal alone(folder_.path, "print", true);
  const WorkLog log(alone, nullptr, 2);
  const auto pieces = twelve();
  std::vector<int64_t> taken;
  log.each(
      pieces, [&](size_t) -> NamedTensors { throw Error("it was done"); },
      [&](size_t, const NamedTensors& done) { taken.push_back(find_tensor(done, "sum").item<int64_t>()); });
  EXPECT_EQ(taken, sums());
}

TEST(PieceSize, GivesEachWorkerSeveralAndNoneTooSmall) {
  test::TemporaryFolder folder;
  Journal journal(folder.path, "print", false);
  EXPECT_EQ(WorkLog(journal).piece_size(1000, 256), 256) << "one process: as the batch";
  const WorkLog two(journal, nullptr, 2);
  EXPECT_EQ(two.piece_size(1000, 256), 84);
  EXPECT_EQ(two.piece_size(100, 256), 16);
  EXPECT_EQ(two.piece_size(100, 8), 8);
  EXPECT_EQ(two.piece_size(100000, 256), 256);
  EXPECT_EQ(two.pieces("p", at::arange(40), 256).size(), 3u);
  EXPECT_EQ(two.pieces("p", at::arange(40), 256)[2].rows.numel(), 8);
}

}  // namespace
}  // namespace hpm
