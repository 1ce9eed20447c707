// Reading what is to be merged; without LibTorch, for the fuzzers of results.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/evaluation/run/merge.h"
#include "hpm/io/file.h"

namespace hpm {

std::vector<int64_t> Shard::indices() const {
  if (!results.indices.empty()) return results.indices;
  std::vector<int64_t> all(static_cast<size_t>(results.n));
  std::iota(all.begin(), all.end(), results.first_index);
  return all;
}

Shard parse_shard(const std::string& folder, std::string_view results, std::string_view settings) {
  const auto file = folder + "/results.json";
  Shard shard{folder, read_results(results, file), {}};
  // Every evaluation writes these flags; and memory is taken for as many images as a file has flags, not as it says.
  const auto flags = shard.results.first.clean_correct.size();
  if (flags != static_cast<size_t>(shard.results.n))
    fail("{}: needs \"clean_correct\" for each of its {} images, but has {}; was the run finished?", file,
         shard.results.n, flags);
  const auto kept = parse_json_object(settings, folder + "/fingerprint.json");
  for (const auto& [name, value] : kept.items())
    shard.settings[name] = value.is_string() ? value.get<std::string>() : json_text(value);
  return shard;
}

Shard read_shard(const std::string& folder) {
  const auto file = folder + "/results.json", settings = folder + "/fingerprint.json";
  for (const auto& needed : {file, settings})
    if (!std::filesystem::exists(needed)) fail("{} is missing: is {} a finished run of hpm evaluate?", needed, folder);
  return parse_shard(folder, read_file(file).text(), read_file(settings).text());
}

}  // namespace hpm
