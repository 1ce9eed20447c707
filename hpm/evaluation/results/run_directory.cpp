#include "hpm/evaluation/results/run_directory.h"

#include <nlohmann/json.hpp>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/native/DispatchStub.h>

#include <ctime>
#include <fstream>
#include <set>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/core/version.h"
#include "hpm/distributed/crew.h"
#include "hpm/io/file.h"

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

/// What the verbs write into a run's folder, beside config.toml and environment.json.
bool is_of_a_run(const fs::path& file) {
  static const std::set<std::string> names = {"results.json",
                                              "analysis.json",
                                              "gauntlet.json",
                                              "report.html",
                                              "verdicts.safetensors",
                                              "log.csv",
                                              "gallery.safetensors",
                                              "events.jsonl",
                                              "adversarial.safetensors",
                                              "events.bin",
                                              "model.safetensors.toml",
                                              "model.safetensors",
                                              "adversarial-8bit.safetensors",
                                              "logits.npy",
                                              "labels.npy",
                                              "labels.csv",
                                              "model.torchscript.pt",
                                              "images.csv",
                                              "distances.csv",
                                              "training.safetensors",
                                              "training.safetensors.next",
                                              "training.previous.safetensors",
                                              "best.safetensors",
                                              "best.safetensors.toml",
                                              "workers",
                                              "finished",
                                              "progress.json",
                                              "progress.json.next",
                                              "fingerprint.json"};
  // Tables and charts of a study.
  static const std::set<std::string> stems = {"against-eps",      "against-iterations",
                                              "distances-clean",  "distances-attacked",
                                              "distance-changes", "measures",
                                              "slopes",           "feature-gains",
                                              "head-slopes",      "scatter",
                                              "agreement",        "transfer",
                                              "prototypes-fc",    "prototypes-l2",
                                              "prototypes-hpm"};
  const bool of_a_study = file.extension() == ".csv" || file.extension() == ".svg";
  const auto name = file.filename().string();
  // events.3.jsonl, events.3.bin
  const auto stem = file.stem().string();
  const bool of_a_worker = (file.extension() == ".jsonl" || file.extension() == ".bin") &&
                           stem.starts_with("events.") && stem.size() > 7 &&
                           stem.find_first_not_of("0123456789", 7) == std::string::npos;
  return names.contains(name) || of_a_worker || name.starts_with("events.out.tfevents.") ||
         (of_a_study && stems.contains(file.stem().string()));
}

/// The files in a folder that a new run would replace or remove.
std::vector<fs::path> files_of_a_run(const std::string& path) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error))
    if (is_of_a_run(entry.path())) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

/// The folder, made where it is missing. One without a run may hold files of somebody's that a run would take away.
const std::string& checked_folder(const std::string& path, ExistingRun existing) {
  std::error_code error;
  const bool holds_run = fs::exists(path + "/config.toml", error) || fs::exists(path + "/results.json", error);
  if (holds_run && existing == ExistingRun::refuse)
    fail_usage("--out: {} holds another run; give --overwrite, --resume or another folder", path);
  if (const auto found = files_of_a_run(path); !found.empty() && existing == ExistingRun::refuse)
    fail_usage("--out: {} holds {}, which is of no run; give another folder, or --overwrite to replace it", path,
               found.front().filename().string());
  fs::create_directories(path, error);
  if (error) fail("--out: cannot make the folder {}: {}", path, error.message());
  return path;
}

}  // namespace

std::string environment_json(const ComputeOptions& compute, uint64_t seed) {
  nlohmann::ordered_json e;
  const auto& build = this_build();
  e["hpm_version"] = build.version;
  e["commit"] = build.commit;
  e["compiler"] = build.compiler;
  e["flags"] = build.flags;
  e["torch"] = build.torch;
  e["blas"] = blas_name();
  e["cpu"] = cpu_name();
  e["isa"] = at::get_cpu_capability();
  e["cores"] = available_cores();
  e["threads"] = at::get_num_threads();
  e["device"] = compute.device;
  e["precision"] = compute.precision;
  e["seed"] = seed;
  e["started"] = date_text("%Y-%m-%dT%H:%M:%SZ");
  return json_text(e, 2) + "\n";
}

std::string default_run_directory(const std::string& verb) {
  const auto base = "runs/" + date_text("%Y%m%d-%H%M%S") + "-" + verb;
  auto path = base;
  for (int i = 2; fs::exists(path); ++i) path = fmt::format("{}-{}", base, i);
  return path;
}

RunDirectory::RunDirectory(std::string path, const Fields& options, const std::string& environment,
                           ExistingRun existing, Monitor& monitor)
    : path_(std::move(path)),
      lock_(std::in_place, checked_folder(path_, existing) + "/lock",
            LockOptions{.job = job_name(), .monitor = monitor}) {
  std::error_code error;
  // A stale result must not stand beside a new configuration.
  if (existing == ExistingRun::overwrite)
    for (const auto& stale : files_of_a_run(path_)) fs::remove(stale, error);
  // A run that goes on keeps what it was begun with: the verb may still refuse other settings.
  if (existing == ExistingRun::resume && fs::exists(file("config.toml"), error)) return;
  write("config.toml", options.toml());
  write("environment.json", environment);
}

RunDirectory RunDirectory::joined(std::string path) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    fail("{}: the run directory of the first worker is not here; several machines need a folder that all of them see",
         path);
  RunDirectory run;
  run.path_ = std::move(path);
  return run;
}

void RunDirectory::write(const std::string& name, const std::string& text) const {
  write_file_atomically(file(name), text);
}

std::string RunDirectory::environment(const std::string& name) const {
  const auto path = file("environment.json");
  const auto json = parse_json_object(read_file(path).text(), path);
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace hpm
