#include "hpm/distributed/crew.h"

#include <cstdlib>
#include <thread>

#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

constexpr const char* kVariables[] = {"RANK",
                                      "WORLD_SIZE",
                                      "LOCAL_RANK",
                                      "MASTER_ADDR",
                                      "MASTER_PORT",
                                      "SLURM_PROCID",
                                      "SLURM_STEP_NUM_TASKS",
                                      "SLURM_LOCALID",
                                      "SLURM_JOB_ID",
                                      "TORCHELASTIC_RUN_ID",
                                      "SLURM_LAUNCH_NODE_IPADDR"};

/// The environment of a launcher; as before afterwards.
class CrewPlaces : public testing::Test {
 protected:
  CrewPlaces() {
    for (const char* name : kVariables) {
      if (const char* value = std::getenv(name)) before_[name] = value;
      ::unsetenv(name);
    }
  }
  ~CrewPlaces() override {
    for (const char* name : kVariables) ::unsetenv(name);
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  static void set(std::initializer_list<std::pair<const char*, const char*>> variables) {
    for (const auto& [name, value] : variables) ::setenv(name, value, 1);
  }

 private:
  std::map<std::string, std::string> before_;
};

TEST_F(CrewPlaces, AProcessWithoutALauncherIsOnItsOwn) {
  EXPECT_FALSE(place_from_environment().has_value());
  set({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}});
  EXPECT_FALSE(place_from_environment().has_value()) << "a step of one task";
}

TEST_F(CrewPlaces, TorchrunsAreTakenWithAPortBesideItsOwnStore) {
  set({{"RANK", "3"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}, {"MASTER_ADDR", "node7"}, {"MASTER_PORT", "29500"}});
  auto place = place_from_environment();
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->rank, 3);
  EXPECT_EQ(place->size, 4);
  EXPECT_EQ(place->local_rank, 1);
  EXPECT_EQ(place->host, "node7");
  EXPECT_EQ(place->port, 29500);
  set({{"TORCHELASTIC_RUN_ID", "none"}});
  EXPECT_EQ(place_from_environment()->port, 29501) << "torchrun's agent listens on 29500";
}

TEST_F(CrewPlaces, SlurmsHaveAPortOfTheirJob) {
  set({{"SLURM_PROCID", "5"},
       {"SLURM_STEP_NUM_TASKS", "8"},
       {"SLURM_LOCALID", "1"},
       {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.2"},
       {"SLURM_JOB_ID", "123456"}});
  const auto place = place_from_environment();
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->rank, 5);
  EXPECT_EQ(place->size, 8);
  EXPECT_EQ(place->local_rank, 1);
  EXPECT_EQ(place->host, "10.0.0.2");
  EXPECT_EQ(place->port, 29856);
}

TEST_F(CrewPlaces, HalfAnEnvironmentAndNoNumbersAreSentences) {
  set({{"RANK", "1"}, {"WORLD_SIZE", "2"}});
  EXPECT_NE(message_of<UsageError>([] { place_from_environment(); }).find("MASTER_ADDR"), std::string::npos);
  set({{"MASTER_ADDR", "localhost"}, {"MASTER_PORT", "29500"}, {"RANK", "2"}});
  const auto text = message_of<UsageError>([] { place_from_environment(); });
  EXPECT_NE(text.find("RANK needs a whole number from 0 to 1"), std::string::npos) << text;
  set({{"RANK", "one"}});
  EXPECT_NE(message_of<UsageError>([] { place_from_environment(); }).find("\"one\""), std::string::npos);
}

TEST(Crew, AloneItNeedsNoSocket) {
  Crew crew;
  EXPECT_EQ(crew.size(), 1);
  EXPECT_EQ(crew.port(), 0);
  EXPECT_FALSE(crew.find("key").has_value());
  EXPECT_EQ(crew.add("count", 2), 2);
  EXPECT_EQ(crew.add("count", 1), 3);
  EXPECT_EQ(crew.set_first("first", "a"), "a");
  EXPECT_EQ(crew.set_first("first", "b"), "a") << "the first one stays";
  EXPECT_EQ(crew.wait_for("first"), "a");
}

TEST(Crew, TwoProcessesSeeOneStoreAndTheOtherHearsOfItsEnd) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  auto first = std::make_unique<Crew>(CrewPlace{0, 2});
  Crew second({1, 2, 1, "127.0.0.1", first->port()});
  first->set("key", "value");
  EXPECT_EQ(second.wait_for("key"), "value");
  EXPECT_EQ(second.add("claimed", 1), 1);
  EXPECT_EQ(first->add("claimed", 1), 2);
  EXPECT_EQ(second.set_first("done", "1"), "1");
  EXPECT_EQ(first->set_first("done", "0"), "1");
  EXPECT_NE(message_of<Error>([&] { second.wait_for("never", std::chrono::seconds(0)); }).find("never"),
            std::string::npos);
  first.reset();
  EXPECT_NE(message_of<CrewLost>([&] { second.find("key"); }).find("rank 0 has ended"), std::string::npos);
}

TEST(Crew, AStoreThatIsNotThereIsASentence) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  const auto text = message_of<Error>([] { Crew({1, 2, 1, "127.0.0.1", 1}, std::chrono::seconds(1)); });
  EXPECT_NE(text.find("127.0.0.1:1"), std::string::npos) << text;
  EXPECT_NE(text.find("is rank 0 running there"), std::string::npos) << text;
}

}  // namespace
}  // namespace hpm
