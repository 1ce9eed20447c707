#include <charconv>
#include <cstdlib>

#include "hpm/distributed/crew.h"

namespace hpm {
namespace {

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

int64_t number(const char* name, int64_t least, int64_t most) {
  const auto text = variable(name);
  int64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  require(read.ec == std::errc() && read.ptr == text.data() + text.size() && value >= least && value <= most,
          "environment: {} needs a whole number from {} to {}, but is \"{}\"", name, least, most, text);
  return value;
}

void require_set(const char* launcher, std::initializer_list<const char*> names) {
  for (const char* name : names)
    require(!variable(name).empty(), "environment: {} sets {}, but it is not set; start all processes by one launcher",
            launcher, name);
}

constexpr int64_t kMost = 1 << 20;

CrewPlace place_of_torchrun() {
  require_set("torchrun", {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"});
  CrewPlace place{.size = number("WORLD_SIZE", 1, kMost), .host = variable("MASTER_ADDR"), .run = job_name()};
  place.rank = number("RANK", 0, place.size - 1);
  if (!variable("LOCAL_RANK").empty()) place.local_rank = number("LOCAL_RANK", 0, kMost);
  if (!variable("LOCAL_WORLD_SIZE").empty() && number("LOCAL_WORLD_SIZE", 1, kMost) == place.size)
    place.host = "127.0.0.1";
  // torchrun's own store listens on MASTER_PORT.
  place.port =
      static_cast<uint16_t>(number("MASTER_PORT", 1, 65534) + (variable("TORCHELASTIC_RUN_ID").empty() ? 0 : 1));
  return place;
}

CrewPlace place_of_srun() {
  require_set("srun", {"SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID"});
  // Not SLURM_LAUNCH_NODE_IPADDR: that is the machine on which srun was called, a login node perhaps.
  CrewPlace place{.size = number("SLURM_STEP_NUM_TASKS", 1, kMost),
                  .host = first_host(variable("SLURM_STEP_NODELIST"))};
  place.rank = number("SLURM_PROCID", 0, place.size - 1);
  place.local_rank = number("SLURM_LOCALID", 0, kMost);
  if (variable("SLURM_STEP_NUM_NODES") == "1") place.host = "127.0.0.1";
  const auto job = number("SLURM_JOB_ID", 0, INT64_MAX);
  const auto step = variable("SLURM_STEP_ID").empty() ? 0 : number("SLURM_STEP_ID", 0, INT64_MAX);
  place.run = fmt::format("step {} of Slurm job {}", step, job);
  // Jobs of one node have neighbouring numbers, and the steps of a job too: 31 and 3000 have no common divisor.
  constexpr int64_t kFirstPort = 29400, kPorts = 3000;
  place.port =
      static_cast<uint16_t>(variable("MASTER_PORT").empty() ? kFirstPort + (job % kPorts * 31 + step % kPorts) % kPorts
                                                            : number("MASTER_PORT", 1, 65535));
  return place;
}

}  // namespace

std::string first_host(const std::string& list) {
  std::string host;
  for (size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      host += list[i];
      continue;
    }
    const auto end = list.find_first_of(",-]", i + 1), closed = list.find(']', i + 1);
    require(end != std::string::npos && closed != std::string::npos,
            "environment: SLURM_STEP_NODELIST needs a list as node[01-03,07], but is \"{}\"", list);
    host += list.substr(i + 1, end - i - 1);
    i = closed;
  }
  return host;
}

bool is_restart() {
  const auto above_0 = [](const char* name) { return !variable(name).empty() && number(name, 0, INT64_MAX) > 0; };
  return above_0("TORCHELASTIC_RESTART_COUNT") || above_0("SLURM_RESTART_COUNT");
}

std::string job_name() {
  if (const auto job = variable("SLURM_JOB_ID"); !job.empty()) return "Slurm job " + job;
  const auto run = variable("TORCHELASTIC_RUN_ID");
  return run.empty() ? "" : "torchrun job " + run;
}

std::optional<CrewPlace> place_from_environment() {
  const auto world = variable("WORLD_SIZE");
  if (world != "1" && (!world.empty() || !variable("RANK").empty())) return place_of_torchrun();
  // srun sets SLURM_STEP_NUM_TASKS; the job script itself and an interactive shell are processes on their own.
  if (variable("SLURM_PROCID").empty() || variable("SLURM_STEP_NUM_TASKS").empty() ||
      number("SLURM_STEP_NUM_TASKS", 1, kMost) == 1)
    return std::nullopt;
  return place_of_srun();
}

}  // namespace hpm
