#include <filesystem>

#include "hpm/evaluation/results/run_directory.h"
#include "hpm/evaluation/run/merge.h"
#include "hpm/io/file.h"
#include "hpm/io/journal.h"
#include "hpm/io/tensors.h"

namespace hpm {

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
