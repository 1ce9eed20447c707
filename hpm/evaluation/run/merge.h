// defines: Shard, parse_shard(), read_shard(), MergedRun, merge_shards(), write_merged()
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hpm/evaluation/results/run_results.h"

namespace hpm {

class RunDirectory;

/// Images of the merged gallery, an equal share of each shard.
inline constexpr size_t kMergedGallery = 24;

/// A run on some of the images that are to be evaluated.
struct Shard {
  std::string folder;
  RunResults results;
  std::map<std::string, std::string> settings;  ///< fingerprint.json

  std::vector<int64_t> indices() const;
};

/// A shard of the texts of its results.json and fingerprint.json. Throws Error that names the file of `folder` for what
/// is no finished evaluation.
Shard parse_shard(const std::string& folder, std::string_view results, std::string_view settings);
/// The same of the files in a folder.
Shard read_shard(const std::string& folder);

struct MergedRun {
  RunResults results;
  std::vector<size_t> order;          ///< of the shards, by their first images
  std::vector<std::string> warnings;  ///< also among the notes of the results
};

/// One run of shards that were evaluated with the same settings. Figures are computed from all images' verdicts;
/// figures of which only the shards' own are known are their means, weighted by images. A check is the worst one of a
/// shard. Throws UsageError for one shard, other settings (names the option), and images that two shards share.
MergedRun merge_shards(const std::vector<Shard>& shards);

/// results.json, verdicts.safetensors and gallery.safetensors of the merged run; gives the text of results.json.
std::string write_merged(const std::vector<Shard>& shards, const MergedRun& merged, const RunDirectory& run);

}  // namespace hpm
