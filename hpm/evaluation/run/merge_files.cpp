#include <nlohmann/json.hpp>

#include <filesystem>
#include <numeric>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/evaluation/run/merge.h"
#include "hpm/io/file.h"
#include "hpm/io/journal.h"
#include "hpm/io/tensors.h"

namespace hpm {

std::vector<int64_t> Shard::indices() const {
  if (!results.indices.empty()) return results.indices;
  std::vector<int64_t> all(static_cast<size_t>(results.n));
  std::iota(all.begin(), all.end(), results.first_index);
  return all;
}

Shard read_shard(const std::string& folder) {
  const auto file = folder + "/results.json", settings = folder + "/fingerprint.json";
  for (const auto& needed : {file, settings})
    if (!std::filesystem::exists(needed)) fail("{} is missing: is {} a finished run of hpm evaluate?", needed, folder);
  Shard shard{folder, read_results(read_file(file).text(), file), {}};
  const auto kept = nlohmann::json::parse(read_file(settings).text(), nullptr, false);
  if (!kept.is_object()) fail("{}: is no JSON object", settings);
  for (const auto& [name, value] : kept.items())
    shard.settings[name] = value.is_string() ? value.get<std::string>() : json_text(value);
  return shard;
}

std::string write_merged(const std::vector<Shard>& shards, const MergedRun& merged, const RunDirectory& run) {
  std::map<std::string, std::vector<at::Tensor>> verdicts;
  std::vector<std::string> names;
  std::vector<at::Tensor> originals, adversarial;
  const auto share = std::max<int64_t>(static_cast<int64_t>(kMergedGallery / shards.size()), 1);
  for (const auto s : merged.order) {
    const auto& folder = shards[s].folder;
    for (const auto& [name, tensor] : read_checkpoint(folder + "/verdicts.safetensors").tensors) {
      if (!verdicts.contains(name)) names.push_back(name);
      verdicts[name].push_back(tensor);
    }
    const auto gallery = folder + "/gallery.safetensors";
    if (shards[s].results.gallery.empty() || !std::filesystem::exists(gallery)) continue;
    const auto images = read_checkpoint(gallery).tensors;
    originals.push_back(find_tensor(images, "original").slice(0, 0, share));
    adversarial.push_back(find_tensor(images, "adversarial").slice(0, 0, share));
  }
  NamedTensors all;
  for (const auto& name : names)
    if (verdicts[name].size() == shards.size()) all.emplace_back(name, at::cat(verdicts[name]));
  write_safetensors(run.file("verdicts.safetensors"), all);
  if (!originals.empty())
    write_safetensors(run.file("gallery.safetensors"),
                      {{"original", at::cat(originals)}, {"adversarial", at::cat(adversarial)}});
  // The settings of all shards, but for which images each of them took.
  std::string config = "# One run of these shards; what follows is the first one's:\n";
  for (const auto s : merged.order) config += "#   " + shards[s].folder + "\n";
  run.write("config.toml",
            config + std::string(read_file(shards[merged.order.front()].folder + "/config.toml").text()));
  const auto text = results_text(merged.results);
  run.write("results.json", text);
  return text;
}

}  // namespace hpm
