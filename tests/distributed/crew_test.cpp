#include "hpm/distributed/crew.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <cstdlib>
#include <thread>

#include "hpm/core/progress.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

constexpr const char* kVariables[] = {"RANK",
                                      "WORLD_SIZE",
                                      "LOCAL_RANK",
                                      "LOCAL_WORLD_SIZE",
                                      "MASTER_ADDR",
                                      "MASTER_PORT",
                                      "SLURM_PROCID",
                                      "SLURM_STEP_NUM_TASKS",
                                      "SLURM_STEP_NUM_NODES",
                                      "SLURM_STEP_NODELIST",
                                      "SLURM_STEP_ID",
                                      "SLURM_LOCALID",
                                      "SLURM_JOB_ID",
                                      "SLURM_RESTART_COUNT",
                                      "TORCHELASTIC_RUN_ID",
                                      "TORCHELASTIC_RESTART_COUNT",
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

TEST_F(CrewPlaces, TorchrunsOnOneMachineTalkOverItsLoopback) {
  set({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node7"}, {"MASTER_PORT", "29500"}});
  set({{"LOCAL_WORLD_SIZE", "1"}});
  EXPECT_EQ(place_from_environment()->host, "node7");
  set({{"LOCAL_WORLD_SIZE", "2"}});
  EXPECT_EQ(place_from_environment()->host, "127.0.0.1");
}

TEST_F(CrewPlaces, SlurmsAreTakenWithTheFirstHostAndAPortOfTheirStep) {
  set({{"SLURM_PROCID", "5"},
       {"SLURM_STEP_NUM_TASKS", "8"},
       {"SLURM_STEP_NUM_NODES", "2"},
       {"SLURM_STEP_NODELIST", "node[07-08]"},
       {"SLURM_LOCALID", "1"},
       {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.2"},
       {"SLURM_STEP_ID", "0"},
       {"SLURM_JOB_ID", "123456"}});
  auto place = place_from_environment();
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->rank, 5);
  EXPECT_EQ(place->size, 8);
  EXPECT_EQ(place->local_rank, 1);
  EXPECT_EQ(place->host, "node07") << "not the login node on which srun was called";
  EXPECT_EQ(place->port, 29400 + (456 * 31) % 3000);
  EXPECT_EQ(place->run, "step 0 of Slurm job 123456");
  set({{"SLURM_STEP_ID", "1"}});
  EXPECT_EQ(place_from_environment()->port, 29400 + (456 * 31 + 1) % 3000) << "two steps of a job do not meet";
  set({{"SLURM_JOB_ID", "124456"}});
  EXPECT_EQ(place_from_environment()->port, 29400 + (1456 * 31 + 1) % 3000) << "nor do jobs 1000 apart";
  set({{"MASTER_PORT", "4711"}, {"SLURM_STEP_NUM_NODES", "1"}});
  place = place_from_environment();
  EXPECT_EQ(place->port, 4711) << "what the job script asks for";
  EXPECT_EQ(place->host, "127.0.0.1") << "a step on one node";
}

TEST(FirstHost, IsTakenFromSlurmsShortForm) {
  EXPECT_EQ(first_host("node7"), "node7");
  EXPECT_EQ(first_host("login,node[01-03]"), "login");
  EXPECT_EQ(first_host("node[01-03,07]"), "node01");
  EXPECT_EQ(first_host("node[07,01-03]"), "node07");
  EXPECT_EQ(first_host("gpu[3]-ib,other"), "gpu3-ib");
  EXPECT_EQ(first_host("rack[2-3]n[010-012]"), "rack2n010");
  EXPECT_NE(message_of<UsageError>([] { first_host("node[01-03"); }).find("node[01-03"), std::string::npos);
}

TEST_F(CrewPlaces, RestartsOfALauncherAreKnownAndAreOfTheSameJob) {
  EXPECT_FALSE(is_restart());
  EXPECT_EQ(job_name(), "");
  set({{"TORCHELASTIC_RESTART_COUNT", "0"}, {"TORCHELASTIC_RUN_ID", "night"}});
  EXPECT_FALSE(is_restart());
  EXPECT_EQ(job_name(), "torchrun job night");
  set({{"TORCHELASTIC_RESTART_COUNT", "2"}});
  EXPECT_TRUE(is_restart());
  ::unsetenv("TORCHELASTIC_RESTART_COUNT");
  set({{"SLURM_RESTART_COUNT", "1"}, {"SLURM_JOB_ID", "12"}});
  EXPECT_TRUE(is_restart());
  EXPECT_EQ(job_name(), "Slurm job 12");
}

TEST_F(CrewPlaces, AWorldOfOneIsAProcessOnItsOwn) {
  set({{"RANK", "0"}, {"WORLD_SIZE", "1"}});
  EXPECT_FALSE(place_from_environment().has_value());
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

/// A port of 127.0.0.1 on which connections are accepted, by the system, and never answered.
class MuteServer {
 public:
  MuteServer() : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_, 8);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  ~MuteServer() { ::close(listener_); }
  uint16_t port = 0;

 private:
  int listener_;
};

/// A process that opens the store of a crew of two and then does nothing; its port comes through a pipe.
class OtherProcess {
 public:
  OtherProcess() {
    int ends[2];
    if (::pipe(ends) != 0) return;
    process_ = ::fork();
    if (process_ == 0) serve(ends[1]);
    ::close(ends[1]);
    EXPECT_EQ(::read(ends[0], &port, sizeof port), static_cast<ssize_t>(sizeof port));
    ::close(ends[0]);
  }
  ~OtherProcess() { ::kill(process_, SIGKILL), ::waitpid(process_, nullptr, 0); }
  void stop() const { ::kill(process_, SIGSTOP); }
  uint16_t port = 0;

 private:
  [[noreturn]] static void serve(int to) {
    try {
      const Crew first(CrewPlace{0, 2});
      const auto opened = first.port();
      while (::write(to, &opened, sizeof opened) == static_cast<ssize_t>(sizeof opened)) ::pause();
    } catch (...) {  // the reader sees an empty pipe
    }
    ::_exit(1);
  }
  pid_t process_ = -1;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
  EXPECT_EQ(crew.wait_for("first", "the first one"), "a");
}

TEST(Crew, TwoProcessesSeeOneStoreAndTheOtherHearsOfItsEnd) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  auto first = std::make_unique<Crew>(CrewPlace{0, 2});
  Crew second({1, 2, 1, "127.0.0.1", first->port()});
  first->set("key", "value");
  EXPECT_EQ(second.wait_for("key", "a key"), "value");
  EXPECT_EQ(second.add("claimed", 1), 1);
  EXPECT_EQ(first->add("claimed", 1), 2);
  EXPECT_EQ(second.set_first("done", "1"), "1");
  EXPECT_EQ(first->set_first("done", "0"), "1");
  const auto text = message_of<Error>([&] { second.wait_for("never", "the end of time", std::chrono::seconds(0)); });
  EXPECT_NE(text.find("waited 0 s for the end of time"), std::string::npos) << text;
  EXPECT_EQ(text.find("never"), std::string::npos) << "keys of the store mean nothing to a reader: " << text;
  EXPECT_EQ(first->launch(), second.launch());
  EXPECT_FALSE(first->launch().empty());
  first.reset();
  EXPECT_NE(message_of<CrewLost>([&] { second.find("key"); }).find("rank 0 has ended"), std::string::npos);
}

TEST(Crew, AStoreThatIsNotThereIsASentence) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  const auto text = message_of<Error>([] { Crew({1, 2, 1, "127.0.0.1", 1}, {.reach = std::chrono::seconds(1)}); });
  EXPECT_NE(text.find("127.0.0.1:1"), std::string::npos) << text;
  EXPECT_NE(text.find("is rank 0 running there"), std::string::npos) << text;
}

TEST(Crew, AStoreOfAnotherRunIsASentenceThatNamesBoth) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  const Crew first({.size = 2, .run = "step 0 of Slurm job 7"});
  const auto message = [&](const CrewPlace& place) { return message_of<Error>([&] { Crew{place}; }); };
  auto text = message({.rank = 1, .size = 2, .port = first.port(), .run = "step 1 of Slurm job 7"});
  EXPECT_NE(text.find("2 processes of step 0 of Slurm job 7"), std::string::npos) << text;
  EXPECT_NE(text.find("2 processes of step 1 of Slurm job 7"), std::string::npos) << text;
  text = message({.rank = 1, .size = 3, .port = first.port(), .run = "step 0 of Slurm job 7"});
  EXPECT_NE(text.find("3 processes of"), std::string::npos) << text;
  EXPECT_NO_THROW(Crew({.rank = 1, .size = 2, .port = first.port(), .run = "step 0 of Slurm job 7"}));
}

TEST(Crew, OfOneMachineListensOnItsLoopbackAlone) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  const Crew first({.size = 2});
  const auto port = fmt::format(":{:04X} ", first.port());
  std::string listening;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream lines(table);
    for (std::string line; std::getline(lines, line);)
      if (line.find(port) < 40 && line.find(" 0A ") != std::string::npos) listening += line + "\n";
  }
  if (listening.empty())
    GTEST_SKIP() << "needs /proc/net/tcp to see where a port is listened on: run it on Linux with /proc mounted";
  EXPECT_NE(listening.find(" 0100007F" + port), std::string::npos) << listening;
  EXPECT_EQ(std::count(listening.begin(), listening.end(), '\n'), 1) << listening;
}

TEST(Crew, AStoreThatNeverAnswersIsGivenUp) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  const OtherProcess other;
  ASSERT_NE(other.port, 0);
  Crew second({.rank = 1, .size = 2, .port = other.port}, {.answer = std::chrono::seconds(2)});
  EXPECT_EQ(second.add("count", 1), 1);
  other.stop();
  const auto start = std::chrono::steady_clock::now();
  const auto text = message_of<CrewLost>([&] { second.add("count", 1); });
  EXPECT_NE(text.find("does not answer for 2 s"), std::string::npos) << text;
  EXPECT_LT(seconds_since(start), 20);
  EXPECT_NE(message_of<CrewLost>([&] { second.find("count"); }), "") << "and nobody waits for it again";
}

TEST(Crew, AnInterruptionIsHeardWhileNobodyAnswers) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  // Nothing takes the request back, so it is made in a process of its own.
  const MuteServer mute;
  for (const uint16_t port : {mute.port, uint16_t{1}}) {
    const auto start = std::chrono::steady_clock::now();
    const auto process = ::fork();
    if (process == 0) {
      std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        request_interrupt();
      }).detach();
      try {
        const Crew second({.rank = 1, .size = 2, .port = port}, {.reach = std::chrono::seconds(300)});
      } catch (const Interrupted&) {
        ::_exit(130);
      } catch (...) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(process, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 130) << status;
    EXPECT_LT(seconds_since(start), 30) << (port == 1 ? "no store" : "a mute one");
  }
}

TEST(Crew, SaysWhatItWaitsForOnceItHasTakenLong) {
  if (!has_c10d()) GTEST_SKIP() << "needs a LibTorch with c10d, and a build with -DHPM_WITH_C10D=ON";
  std::vector<std::string> said;
  CrewWaits waits{.say = [&](const std::string& text) { said.push_back(text); }, .say_after = std::chrono::seconds(1)};
  Crew first({.size = 2}, waits);
  EXPECT_NE(message_of<Error>([&] { first.wait_for("key", "a sign", std::chrono::seconds(2)); }), "");
  EXPECT_EQ(said, std::vector<std::string>{"waits for a sign (at most 2 s)"}) << "once";
}

}  // namespace
}  // namespace hpm
