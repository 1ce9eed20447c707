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

}  // namespace

std::optional<CrewPlace> place_from_environment() {
  constexpr int64_t kMost = 1 << 20;
  if (!variable("RANK").empty() || !variable("WORLD_SIZE").empty()) {
    require_set("torchrun", {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"});
    CrewPlace place{.size = number("WORLD_SIZE", 1, kMost), .host = variable("MASTER_ADDR")};
    place.rank = number("RANK", 0, place.size - 1);
    if (!variable("LOCAL_RANK").empty()) place.local_rank = number("LOCAL_RANK", 0, kMost);
    // torchrun's own store listens on MASTER_PORT.
    place.port =
        static_cast<uint16_t>(number("MASTER_PORT", 1, 65534) + (variable("TORCHELASTIC_RUN_ID").empty() ? 0 : 1));
    return place;
  }
  // srun sets SLURM_STEP_NUM_TASKS; the job script itself and an interactive shell are processes on their own.
  if (variable("SLURM_PROCID").empty() || variable("SLURM_STEP_NUM_TASKS").empty() ||
      number("SLURM_STEP_NUM_TASKS", 1, kMost) == 1)
    return std::nullopt;
  require_set("srun", {"SLURM_LOCALID", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_JOB_ID"});
  CrewPlace place{.size = number("SLURM_STEP_NUM_TASKS", 1, kMost), .host = variable("SLURM_LAUNCH_NODE_IPADDR")};
  place.rank = number("SLURM_PROCID", 0, place.size - 1);
  place.local_rank = number("SLURM_LOCALID", 0, kMost);
  place.port = static_cast<uint16_t>(29400 + number("SLURM_JOB_ID", 0, INT64_MAX) % 1000);
  return place;
}

}  // namespace hpm
