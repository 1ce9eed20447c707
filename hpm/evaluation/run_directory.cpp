#include "hpm/evaluation/run_directory.h"

#include <nlohmann/json.hpp>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/native/DispatchStub.h>
#include <torch/version.h>

#include <ctime>
#include <fstream>

#include "hpm/core/error.h"
#include "hpm/io/file.h"
#include "hpm_version.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

std::string blas_name() {
  const auto config = at::show_config();
  for (const char* key : {"BLAS_INFO=", "Build settings: BLAS_INFO="})
    if (const auto at = config.find(key); at != std::string::npos) {
      const auto begin = at + std::string(key).size();
      return config.substr(begin, config.find(',', begin) - begin);
    }
  return at::hasMKL() ? "mkl" : "unknown";
}

std::string date_text(const char* format) {
  const auto now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char buffer[64];
  return std::string(buffer, std::strftime(buffer, sizeof buffer, format, &utc));
}

/// The folder, made where it is missing.
const std::string& checked_folder(const std::string& path, ExistingRun existing) {
  std::error_code error;
  const bool holds_run = fs::exists(path + "/config.toml", error) || fs::exists(path + "/results.json", error);
  if (holds_run && existing == ExistingRun::refuse)
    fail_usage("--out: {} holds another run; give --overwrite, --resume or another folder", path);
  fs::create_directories(path, error);
  if (error) fail("--out: cannot make the folder {}: {}", path, error.message());
  return path;
}

}  // namespace

std::string environment_json(const ComputeOptions& compute, uint64_t seed) {
  nlohmann::ordered_json e;
  e["hpm_version"] = HPM_VERSION;
  e["commit"] = HPM_COMMIT;
  e["compiler"] = HPM_COMPILER;
  e["flags"] = HPM_FLAGS;
  e["torch"] = TORCH_VERSION;
  e["blas"] = blas_name();
  e["cpu"] = cpu_name();
  e["isa"] = at::get_cpu_capability();
  e["cores"] = available_cores();
  e["threads"] = at::get_num_threads();
  e["device"] = compute.device;
  e["precision"] = compute.precision;
  e["seed"] = seed;
  e["started"] = date_text("%Y-%m-%dT%H:%M:%SZ");
  return e.dump(2) + "\n";
}

std::string default_run_directory(const std::string& verb) {
  const auto base = "runs/" + date_text("%Y%m%d-%H%M%S") + "-" + verb;
  auto path = base;
  for (int i = 2; fs::exists(path); ++i) path = fmt::format("{}-{}", base, i);
  return path;
}

RunDirectory::RunDirectory(std::string path, const Fields& options, const std::string& environment,
                           ExistingRun existing)
    : path_(std::move(path)), lock_(checked_folder(path_, existing) + "/lock") {
  std::error_code error;
  // A stale result must not stand beside a new configuration.
  if (existing != ExistingRun::resume)
    for (const char* stale :
         {"results.json", "analysis.json", "report.html", "verdicts.safetensors", "adversarial.safetensors",
          "adversarial-8bit.safetensors", "gallery.safetensors", "training.safetensors", "model.safetensors",
          "model.safetensors.toml", "log.csv", "events.jsonl", "events.bin", "training.previous.safetensors",
          "best.safetensors", "best.safetensors.toml"})
      fs::remove(path_ + "/" + stale, error);
  // A run that goes on keeps what it was begun with: the verb may still refuse other settings.
  if (existing == ExistingRun::resume && fs::exists(file("config.toml"), error)) return;
  write("config.toml", options.toml());
  write("environment.json", environment);
}

void RunDirectory::write(const std::string& name, const std::string& text) const {
  write_file_atomically(file(name), text);
}

}  // namespace hpm
