#include "options.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "hpm/core/error.h"
#include "hpm/distributed/crew.h"
#include "hpm/io/file_lock.h"
#include "hpm/io/sha256.h"
#include "hpm/models/normalisation.h"

namespace hpm::app {

void fields(Fields& f, ModelOptions& o) {
  f.section("model");
  f.add("model", o.model, "checkpoint (PyTorch, safetensors or TorchScript file)", {.place = Place::file});
  hpm::fields(f, o.card);
  f.add("allow-torchscript", o.allow_torchscript, "load TorchScript, which may run code from the file");
}

HpmModel load(const ModelOptions& options, const std::string& path, const std::vector<int64_t>& data_shape,
              Monitor& monitor, const std::string& purpose) {
  require(!path.empty(), "--model: needs a checkpoint file");
  auto loaded = load_model(path, options.card, data_shape, options.allow_torchscript);
  if (!purpose.empty()) require_normalisation(loaded.model.classifier, purpose);
  for (const auto& line : unlikely_values(loaded.model.classifier.info().normalisation))
    monitor.warn(path + ": " + line);
  for (const auto& note : loaded.notes) monitor.say(path + ": " + note);
  for (const auto& warning : loaded.warnings) monitor.warn(warning);
  return std::move(loaded.model);
}

void fields(Fields& f, DataOptions& o, const std::string& split) {
  o.split = split;
  f.section("data");
  f.add("data", o.data,
        "data set: fashion-mnist, mnist, cifar10, cifar100, svhn, images:DIR (a sub-folder for each class), npz:FILE "
        "or npy:FILE (docs/data.md)",
        {.suggestions = {"fashion-mnist", "mnist", "cifar10", "cifar100", "svhn", "images:", "npz:", "npy:"}});
  f.add("data-root", o.root, "parent of the data set's folder (none: HPM_DATA, then the system's places)",
        {.place = Place::folder});
  f.add("split", o.split, "which images", {.choices = {"train", "test"}});
  f.add("count", o.count, "number of images (0: all)", {.min = 0});
  f.add("first", o.first, "first image", {.min = 0});
  f.add("indices", o.indices, "file of image numbers, separated by blanks or commas", {.place = Place::file});
  hpm::fields(f, o.images);
}

void say_notes(Dataset& data, Monitor& monitor) {
  for (const auto& note : data.notes) monitor.warn(note);
  if (data.reader) data.reader->on_note = [&monitor](const std::string& note) { monitor.warn(note); };
}

Dataset load(const DataOptions& options, CommandLine& line) {
  const auto& name = options.data;
  const bool folder = name.starts_with("images:"), file = name.starts_with("npz:") || name.starts_with("npy:");
  auto data = load_dataset(name, options.split, options.root, options.images);
  if (folder || file) line.warn_unused("data-root", name + " names its place itself");
  say_notes(data, line.monitor());
  if (data.split == "all") line.warn_unused("split", name + " has no splits");
  if (!folder)
    for (const char* option : {"resize", "centre-crop", "interpolation"})
      line.warn_unused(option, "it is for images:DIR");
  return data;
}

Tensor image_numbers(const DataOptions& options, const Dataset& data) {
  if (options.indices.empty()) {
    require(options.first < data.size(), "--first: needs an image below {} ({} {} has so many), but got {}",
            data.size(), data.name, data.split, options.first);
    const int64_t count = options.count > 0 ? options.count : data.size() - options.first;
    require(count <= data.size() - options.first, "--count: {} images from {} on go beyond the {} images of {} {}",
            count, options.first, data.size(), data.name, data.split);
    return at::arange(options.first, options.first + count);
  }
  std::ifstream file(options.indices);
  if (!file) fail("--indices: {} cannot be read", options.indices);
  std::stringstream text;
  text << file.rdbuf();
  auto content = text.str();
  std::replace(content.begin(), content.end(), ',', ' ');
  std::istringstream words(content);
  std::vector<int64_t> numbers;
  for (std::string word; words >> word;) {
    const bool digits = word.find_first_not_of("0123456789") == std::string::npos && word.size() < 12;
    require(digits && std::stoll(word) < data.size(), "--indices: needs image numbers below {}, but {} holds \"{}\"",
            data.size(), options.indices, word);
    numbers.push_back(std::stoll(word));
  }
  require(!numbers.empty(), "--indices: {} holds no numbers", options.indices);
  require(std::set<int64_t>(numbers.begin(), numbers.end()).size() == numbers.size(),
          "--indices: {} names an image twice", options.indices);
  return torch::tensor(numbers, at::kLong);
}

Images images_of(const Dataset& data, const Tensor& index) {
  return {data.images(index), data.labels.index_select(0, index), index};
}

void require_classes(const HpmModel& model, const Dataset& data) {
  const auto classes = model.classifier.classes();
  require(classes == 0 || classes == data.classes() || (!data.names_known && classes > data.classes()),
          "the model has {} classes, but {} has {}; give the data set it was trained on (--data)", classes, data.name,
          data.classes());
}

void fields(Fields& f, ThreatOptions& o, bool list) {
  f.section("threat");
  f.add("norm", o.norm, "norm of the perturbation", {.choices = {"Linf", "L2", "L1"}});
  f.add("eps", o.eps, list ? "radius, or a list for a curve" : "radius", {.unit = "input range [0,1]", .radius = true});
}

std::vector<ThreatModel> threats(const ThreatOptions& options) {
  std::vector<ThreatModel> all;
  std::istringstream parts(options.eps);
  for (std::string part; std::getline(parts, part, ',');)
    all.push_back({parse_norm(options.norm), parse_radius(part, "--eps")});
  return all;
}

namespace {

std::string open_folder;

/// A launcher that starts a job again repeats its command, which names no --resume. With --overwrite the run of another
/// job is replaced all the same.
void resume_after_restart(CommandLine& line) {
  if (line.resume || !line.resumable() || !is_restart()) return;
  const auto job = job_name();
  if (line.out.empty())
    return line.monitor().warn(
        "the launcher has started this job again, but without --out there is no run to go on with");
  const auto owner = lock_owner(line.out + "/lock");
  if (!std::filesystem::exists(line.out + "/config.toml") || (line.overwrite && !(owner && owner->job == job))) return;
  line.resume = true, line.overwrite = false;
  line.monitor().warn(
      fmt::format("the launcher has started this job again{}: goes on with the run in {}, as --resume does",
                  job.empty() ? "" : " (" + job + ")", line.out));
}

}  // namespace

const std::string& run_in_progress() { return open_folder; }
void set_run_in_progress(const std::string& folder) { open_folder = folder; }

RunDirectory open_run(CommandLine& line, const std::string& verb, const ComputeOptions& compute, uint64_t seed) {
  resume_after_restart(line);
  const auto existing = line.resume      ? ExistingRun::resume
                        : line.overwrite ? ExistingRun::overwrite
                                         : ExistingRun::refuse;
  RunDirectory run(line.out.empty() ? default_run_directory(verb) : line.out, line.fields,
                   environment_json(compute, seed), existing, line.monitor());
  set_run_in_progress(run.path());
  line.keep_progress(run.path());
  return run;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) {
      if (widths.size() <= c) widths.push_back(0);
      widths[c] = std::max(widths[c], row[c].size());
    }
  std::string text;
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c)
      text += c == 0 ? fmt::format("{:<{}}", row[c], widths[c]) : fmt::format("  {:>{}}", row[c], widths[c]);
    text += "\n";
  }
  return text;
}

}  // namespace hpm::app
