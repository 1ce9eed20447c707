// defines: RunDirectory, environment_json(), default_run_directory()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/core/device.h"
#include "hpm/core/fields.h"
#include "hpm/io/file.h"
#include "hpm/io/file_lock.h"

namespace hpm {

/// Version, commit, flags, LibTorch, BLAS, CPU, instruction set, threads, device and seed, as JSON.
std::string environment_json(const ComputeOptions& compute, uint64_t seed);

/// runs/<date>-<verb>, with a number appended where it exists.
std::string default_run_directory(const std::string& verb);

/// What is done about a directory that holds a run.
enum class ExistingRun { refuse, overwrite, resume };

/// A folder with everything that belongs to a run: config.toml, environment.json and what the verb writes. One process
/// at a time writes there.
class RunDirectory {
 public:
  /// Creates the folder and writes config.toml and environment.json. Throws UsageError where it holds another run,
  /// unless told to overwrite it or to resume it; Error where it cannot be written or another process is writing there.
  RunDirectory(std::string path, const Fields& options, const std::string& environment, ExistingRun existing,
               Monitor& monitor = silent());
  /// The folder of a run that another process has opened and writes the results of. Throws Error where it is not there.
  static RunDirectory joined(std::string path);
  bool is_joined() const { return !lock_.has_value(); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const;
  /// A text of environment.json, which is that of the process that began the run; "" where it has none of that name.
  std::string environment(const std::string& name) const;

 private:
  RunDirectory() = default;
  std::string path_;
  std::optional<FileLock> lock_;
};

}  // namespace hpm
