#include "hpm/evaluation/run/shared_run.h"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/core/version.h"

namespace hpm {
namespace {

constexpr const char* kWorkersFile = "workers";
constexpr const char* kFinishedFile = "finished";  // holds which launch of the run came to the end
constexpr std::chrono::milliseconds kLook{20};

std::string build_text() { return fmt::format("{} {}", this_build().commit, this_build().torch); }

/// The first worker: how many workers the pieces are cut for, which is how many the run was begun with. Tells the
/// others.
int64_t begin_run(const Fingerprint& settings, const RunPlace& place) {
  const auto& [run, resume, crew, batch_size] = place;
  int64_t workers = crew ? crew->size() : 1;
  std::error_code none;
  const bool goes_on = resume && std::filesystem::exists(run.file("events.jsonl"), none);
  if (goes_on && !std::filesystem::exists(run.file(kWorkersFile), none)) workers = 1;
  else if (goes_on)
    workers = std::max<int64_t>(std::atoll(std::string(read_file(run.file(kWorkersFile)).text()).c_str()), 1);
  else if (workers > 1) run.write(kWorkersFile, std::to_string(workers) + "\n");
  settings.write(run.path());
  if (!crew) return workers;
  nlohmann::ordered_json first{
      {"settings", settings.digest()}, {"build", build_text()}, {"workers", workers}, {"batch size", batch_size}};
  crew->set("run", json_text(first));
  return workers;
}

/// Any other worker: the same. Throws Error where it would not do the same work as the first one.
int64_t join_run(const Fingerprint& settings, const RunPlace& place) {
  auto& crew = *place.crew;
  const auto first = nlohmann::json::parse(crew.wait_for("run", "the first worker to begin the run"));
  const auto build = build_text();
  if (first.at("build") != build)
    fail("worker {}: is another build ({}) than the first worker ({}); start the same program everywhere", crew.rank(),
         build, first.at("build").get<std::string>());
  if (first.at("settings") != settings.digest())
    fail(
        "worker {}: its settings, images or model are not those of the first worker; start all with the same command "
        "and the same files",
        crew.rank());
  if (const auto theirs = first.at("batch size").get<int64_t>(); theirs != place.batch_size)
    fail(
        "worker {}: --batch-size is {}, and {} on the first worker: they would cut the work differently; give all the "
        "same",
        crew.rank(), place.batch_size, theirs);
  return first.at("workers");
}

void part(Crew& crew, Monitor& monitor) {
  constexpr auto kPatience = std::chrono::seconds(10);
  if (crew.rank() != 0) {
    try {
      crew.add("parted", 1);
    } catch (const CrewLost&) {  // the first worker has ended before: so has this one
    }
    return;
  }
  auto parted = crew.add("parted", 1);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (parted < crew.size() && std::chrono::steady_clock::now() < until && !interrupt_requested()) {
    std::this_thread::sleep_for(kLook);
    parted = crew.add("parted", 0);
  }
  if (parted < crew.size())
    monitor.warn(fmt::format("{} of {} workers had not come to the end; the others did their work",
                             crew.size() - parted, crew.size()));
}

std::string begun_by_another_build(const RunDirectory& run) {
  std::error_code none;
  if (!std::filesystem::exists(run.file("environment.json"), none)) return "";
  const auto begun = run.environment("commit");
  return begun == this_build().commit ? ""
                                      : fmt::format(
                                            "begun by commit {}, resumed by {}: what was finished before is "
                                            "the former's",
                                            begun, this_build().commit);
}

}  // namespace

SharedRun::SharedRun(const Fingerprint& settings, const RunPlace& place, Monitor& monitor)
    : monitor_(monitor), run_(place.run), crew_(place.crew) {
  const auto& run = place.run;
  const bool leads = !crew_ || crew_->rank() == 0;
  if (leads && place.resume) settings.require_same(run.path());
  workers_ = leads ? begin_run(settings, place) : join_run(settings, place);
  journal_.emplace(run.path(), settings.digest(), place.resume || !leads, crew_ ? crew_->rank() : 0);
  if (leads && crew_) crew_->set("journal", "open");
  else if (crew_) crew_->wait_for("journal", "the first worker to open its journal");
  if (journal_->size() > 0) monitor.say(fmt::format("going on after {} finished pieces of work", journal_->size()));
  if (place.resume) other_build_ = begun_by_another_build(run);
  if (!other_build_.empty()) monitor.warn(other_build_);
  if (crew_ && crew_->size() > 1) team_.emplace(*crew_, *journal_);
}

WorkLog SharedRun::log() { return {*journal_, team_ ? &*team_ : nullptr, workers_}; }

void SharedRun::end() {
  if (!crew_) return;
  if (crew_->rank() == 0 && crew_->size() > 1) run_.write(kFinishedFile, crew_->launch() + "\n");
  part(*crew_, monitor_);
}

bool was_finished(const RunDirectory& run, const Crew& crew) {
  constexpr auto kPatience = std::chrono::seconds(5);
  const auto mark = crew.launch() + "\n";
  for (const auto until = std::chrono::steady_clock::now() + kPatience;;) {
    if (beginning_of_file(run.file(kFinishedFile), mark.size() + 1) == mark) return true;
    if (std::chrono::steady_clock::now() > until || interrupt_requested()) return false;
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace hpm
