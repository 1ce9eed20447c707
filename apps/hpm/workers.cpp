#include "workers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "hpm/core/error.h"
#include "hpm/evaluation/run/shared_run.h"
#include "options.h"
#include "standard_streams.h"

namespace hpm::app {
namespace {

constexpr const char* kStarted = "HPM_STARTED_BY_HPM";

/// Waits for a child until `until`; true when it has ended.
bool ended(pid_t child, std::chrono::steady_clock::time_point until) {
  for (;;) {
    if (::waitpid(child, nullptr, WNOHANG) != 0) return true;
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

void declare_workers(Fields& f, int64_t& workers) {
  f.add("workers", workers, "processes on this machine that share the work (torchrun, srun: leave it)",
        {.min = 1, .max = 1024});
}

void require_alone(const std::string& verb) {
  if (const auto place = place_from_environment(); place && place->size > 1)
    fail_usage(
        "a launcher (torchrun, srun) has started {} processes, but {} runs in one: each of them would do the whole "
        "work, into one folder; start one process (srun: --ntasks 1)",
        place->size, verb);
}

Workers::Workers(int64_t asked, CommandLine& line) : verb_(line.verb()) {
  started_by_hpm_ = std::getenv(kStarted) != nullptr;
  if (const auto place = place_from_environment(); place && place->size > 1) {
    require(asked == 1 || started_by_hpm_,
            "--workers {}: a launcher (torchrun, srun) has started {} processes already; leave --workers out", asked,
            place->size);
    place_ = *place, launched_ = true;
  } else {
    place_.size = asked;
    require(asked == 1 || has_c10d(),
            "--workers {}: this hpm was built with a LibTorch that has no c10d; it runs as one process", asked);
  }
  if (!launched_ || started_by_hpm_) place_.run = "--workers";
  else if (place_.run.empty()) place_.run = "a launcher's job";
  if (!line.out.empty()) place_.run += " with --out " + line.out;
  if (!first()) line.mute();
}

Workers::~Workers() {
  const bool failed = std::uncaught_exceptions() > 0;
  if (failed)
    for (const auto child : children_) ::kill(child, SIGTERM);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(failed ? 5 : 15);
  for (const auto child : children_)
    if (!ended(child, until)) ::kill(child, SIGKILL), ::waitpid(child, nullptr, 0);
}

int64_t Workers::threads() const {
  const char *of_task = std::getenv("SLURM_CPUS_PER_TASK"), *local = std::getenv("LOCAL_WORLD_SIZE");
  if (launched_ && !local) return of_task ? std::max(std::atoll(of_task), 1LL) : 1;
  const auto here = launched_ ? std::max(std::atoll(local), 1LL) : place_.size;
  return std::max<int64_t>(available_cores() / here, 1);
}

void Workers::share_machine(ComputeOptions& compute, Monitor& monitor) const {
  if (place_.size == 1) return;
  if (compute.threads == 0) compute.threads = threads();
  const auto gpus = visible_gpus();
  if (compute.device == "cuda" && !launched_ && 0 < gpus && gpus < place_.size)
    monitor.warn(fmt::format("--workers {} on {} GPU{}: they share, each with a copy of the model in its memory",
                             place_.size, gpus, gpus == 1 ? "" : "s"));
  compute.device = device_of_rank(compute.device, place_.local_rank, gpus);
}

Crew* Workers::begin(const Arguments& arguments) {
  if (place_.size == 1) return nullptr;
  CrewWaits waits;
  if (launched_ && !started_by_hpm_) {
    waits.reach = std::chrono::minutes(10);  // a launcher's processes load at different speeds
    waits.say = [verb = verb_, rank = place_.rank](const std::string& text) {
      say_error(fmt::format("hpm {}: rank {} {}", verb, rank, text));
    };
  }
  crew_ = std::make_unique<Crew>(place_, waits);
  if (!launched_) {
    place_.port = crew_->port();
    for (int64_t rank = 1; rank < place_.size; ++rank) start(rank, arguments);
  }
  return crew_.get();
}

int Workers::share(const Arguments& arguments, const std::function<int(Crew*)>& first,
                   const std::function<void(const RunDirectory&, Crew&)>& other) {
  auto* crew = begin(arguments);
  return this->first() ? said_to_launcher(first(crew)) : join(other);
}

/// A worker that was started here says nothing of an end that is not its own: the first one does.
int Workers::join(const std::function<void(const RunDirectory&, Crew&)>& other) {
  std::optional<RunDirectory> run;
  try {
    run.emplace(RunDirectory::joined(crew_->wait_for("folder", "the first worker to open the run directory")));
    other(*run, *crew_);
    return 0;
  } catch (const CrewLost&) {
    if (run && was_finished(*run, *crew_)) return 0;
    if (run) set_run_in_progress(run->path());
    if (!started_by_hpm_) throw;
  } catch (const Interrupted&) {
    if (!started_by_hpm_) throw;
  }
  return 1;
}

/// torchrun knows success and failure: it would end or restart all processes for a 3, and give a 1 itself.
int Workers::said_to_launcher(int status) const {
  if (status != 3 || !std::getenv("TORCHELASTIC_RUN_ID")) return status;
  say_error(fmt::format("hpm {}: finished but suspect: status 0 in place of 3, which torchrun would take for a failure",
                        verb_));
  return 0;
}

void Workers::opened(const RunDirectory& run) {
  if (crew_) crew_->set("folder", std::filesystem::absolute(run.path()).string());
}

void Workers::start(int64_t rank, const Arguments& arguments) {
  // Everything is made before the fork: between it and exec a process with threads may call little.
  std::vector<std::string> words{std::filesystem::read_symlink("/proc/self/exe").string(), verb_};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables{fmt::format("RANK={}", rank),
                                     fmt::format("LOCAL_RANK={}", rank),
                                     fmt::format("WORLD_SIZE={}", place_.size),
                                     fmt::format("LOCAL_WORLD_SIZE={}", place_.size),
                                     fmt::format("MASTER_ADDR={}", place_.host),
                                     fmt::format("MASTER_PORT={}", place_.port),
                                     fmt::format("{}=1", kStarted)};
  for (char** variable = environ; *variable; ++variable)
    if (std::string(*variable).find("TORCHELASTIC_") != 0) variables.emplace_back(*variable);
  std::vector<char*> argv, envp;
  for (auto& word : words) argv.push_back(word.data());
  for (auto& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr), envp.push_back(nullptr);
  const auto parent = ::getpid();
  const auto child = ::fork();
  if (child < 0) fail("--workers: cannot start worker {}", rank);
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    const int nowhere = ::open("/dev/null", O_WRONLY);
    if (nowhere >= 0) ::dup2(nowhere, STDOUT_FILENO);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  children_.push_back(child);
}

}  // namespace hpm::app
