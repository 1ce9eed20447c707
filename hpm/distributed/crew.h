// defines: CrewPlace, place_from_environment(), is_restart(), job_name(), has_c10d(), CrewWaits, CrewLost, Crew
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "hpm/core/error.h"

namespace hpm {

/// The place of this process among those that work on one run.
struct CrewPlace {
  int64_t rank = 0;                ///< 0 .. size - 1; 0 holds the store and writes the results
  int64_t size = 1;                ///< processes
  int64_t local_rank = 0;          ///< among those of this machine: chooses the GPU
  std::string host = "127.0.0.1";  ///< of rank 0; where it is 127.0.0.1, the store listens on this machine alone
  uint16_t port = 0;               ///< of the store; 0: rank 0 takes a free one
  std::string run = {};            ///< which run it is, in words: a process that meets another one's store refuses
};

/// The place that a launcher gave, in one of two ways. None for a process on its own.
/// torchrun: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT (its own store listens there:
/// ours takes the next port). Slurm: SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, the first host of
/// SLURM_STEP_NODELIST, and MASTER_PORT or a port from 29400 to 32399 that follows from SLURM_JOB_ID and SLURM_STEP_ID.
/// Where all processes are on one machine, the host is 127.0.0.1. Throws UsageError where only some are set, or one is
/// no number.
std::optional<CrewPlace> place_from_environment();

/// The first host of a list in Slurm's short form: "node01" of "node[01-03,07],login".
std::string first_host(const std::string& list);

/// Whether a launcher has started this process again after a failure or a requeue: TORCHELASTIC_RESTART_COUNT or
/// SLURM_RESTART_COUNT is above 0.
bool is_restart();

/// The launcher's job in words, "Slurm job 123" or "torchrun job ID"; "" where there is none. A restart has the same.
std::string job_name();

/// Whether this build has c10d. Without it a crew has one process.
bool has_c10d();

/// The store of a crew is lost: rank 0 has ended, or does not answer.
class CrewLost : public Error {
 public:
  using Error::Error;
};

/// How long a process waits for others. All waiting ends at once with Interrupted when this process is asked to stop.
struct CrewWaits {
  std::chrono::seconds reach{60};    ///< for rank 0 to open the store
  std::chrono::seconds answer{120};  ///< for an answer of the store: a machine without power closes no connection
  std::function<void(const std::string& text)> say = {};  ///< told once what is waited for
  std::chrono::seconds say_after{10};                     ///< when
};

/// Several processes that share a key-value store (c10d's TCPStore), which rank 0 holds. Alone, the store is a map of
/// this process and no socket is opened.
class Crew {
 public:
  /// Throws Error where the store cannot be opened or, in time, reached; where it is another run's, or nobody's that
  /// answers.
  explicit Crew(const CrewPlace& place = {}, CrewWaits waits = {});
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  int64_t rank() const { return place_.rank; }
  int64_t size() const { return place_.size; }
  int64_t local_rank() const { return place_.local_rank; }
  uint16_t port() const;  ///< of the store
  /// What rank 0 drew when it opened the store: the same in every process of this crew, and in no other crew.
  const std::string& launch() const { return launch_; }

  // Each throws CrewLost where the store is gone or does not answer.
  void set(const std::string& key, const std::string& value);
  /// Adds to a counter that begins at 0; its new value.
  int64_t add(const std::string& key, int64_t amount);
  /// Sets the key where nobody has; the value that it has now.
  std::string set_first(const std::string& key, const std::string& value);
  /// The value, or none where the key is not set.
  std::optional<std::string> find(const std::string& key);
  /// The value, as soon as somebody sets it. `what` says in words what that shows: "the first worker to open the run
  /// directory". Throws Error after `patience`.
  std::string wait_for(const std::string& key, const std::string& what,
                       std::chrono::seconds patience = std::chrono::minutes(10));

 private:
  struct Store;
  void introduce();
  CrewPlace place_;
  CrewWaits waits_;
  std::string launch_;
  std::unique_ptr<Store> store_;
};

}  // namespace hpm
