// defines: CrewPlace, place_from_environment(), has_c10d(), Crew
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "hpm/core/error.h"

namespace hpm {

/// The place of this process among those that work on one run.
struct CrewPlace {
  int64_t rank = 0;        ///< 0 .. size - 1; 0 holds the store and writes the results
  int64_t size = 1;        ///< processes
  int64_t local_rank = 0;  ///< among those of this machine: chooses the GPU
  std::string host = "127.0.0.1";
  uint16_t port = 0;  ///< of the store; 0: rank 0 takes a free one
};

/// The place that a launcher gave: torchrun's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, or Slurm's
/// SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, SLURM_LAUNCH_NODE_IPADDR (the port is then 29400 and the last three
/// digits of SLURM_JOB_ID). None for a process on its own. Throws UsageError where only some are set, or one is no
/// number.
std::optional<CrewPlace> place_from_environment();

/// Whether this build has c10d. Without it a crew has one process.
bool has_c10d();

/// The store of a crew is lost: rank 0 has ended.
class CrewLost : public Error {
 public:
  using Error::Error;
};

/// Several processes that share a key-value store (c10d's TCPStore), which rank 0 holds. Alone, the store is a map of
/// this process and no socket is opened.
class Crew {
 public:
  /// Throws Error where the store cannot be opened or, within `patience`, reached.
  explicit Crew(const CrewPlace& place = {}, std::chrono::seconds patience = std::chrono::seconds(60));
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  int64_t rank() const { return place_.rank; }
  int64_t size() const { return place_.size; }
  int64_t local_rank() const { return place_.local_rank; }
  uint16_t port() const;  ///< of the store

  // Each throws CrewLost where the store is gone.
  void set(const std::string& key, const std::string& value);
  /// Adds to a counter that begins at 0; its new value.
  int64_t add(const std::string& key, int64_t amount);
  /// Sets the key where nobody has; the value that it has now.
  std::string set_first(const std::string& key, const std::string& value);
  /// The value, or none where the key is not set.
  std::optional<std::string> find(const std::string& key);
  /// The value, as soon as somebody sets it. Throws Error after `patience`, Interrupted when asked to stop.
  std::string wait_for(const std::string& key, std::chrono::seconds patience = std::chrono::minutes(10));

 private:
  struct Store;
  CrewPlace place_;
  std::unique_ptr<Store> store_;
};

}  // namespace hpm
