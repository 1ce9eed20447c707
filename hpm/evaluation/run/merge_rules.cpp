#include <algorithm>
#include <map>

#include "hpm/core/error.h"
#include "hpm/evaluation/run/merge_impl.h"

namespace hpm {

void require_same_settings(const std::vector<Shard>& shards) {
  const auto& one = shards.front();
  for (const auto& other : shards) {
    auto names = one.settings;
    names.insert(other.settings.begin(), other.settings.end());
    for (const auto& [name, value] : names) {
      if (name == "SHA-256 of the images and labels") continue;
      const auto shown = [&, n = name](const Shard& shard) {
        const auto place = shard.settings.find(n);
        return place == shard.settings.end() || place->second.empty() ? std::string("not given") : place->second;
      };
      require(shown(one) == shown(other), "{} is {} in {}, and {} in {}: shards need the same settings", name,
              shown(one), one.folder, shown(other), other.folder);
    }
    const auto &a = one.results, &b = other.results;
    require(a.dataset == b.dataset && a.split == b.split,
            "{} is of {} {}, and {} of {} {}: shards need the same "
            "data set",
            one.folder, a.dataset, a.split, other.folder, b.dataset, b.split);
    const auto contexts = [](const RunResults& r) {
      std::vector<std::string> names;
      for (const auto& c : r.contexts) names.push_back(c.context);
      return names;
    };
    require(contexts(a) == contexts(b), "{} and {} have other contexts", one.folder, other.folder);
  }
}

void require_no_overlap(const std::vector<Shard>& shards) {
  std::map<int64_t, const Shard*> whose;
  for (const auto& shard : shards)
    for (const auto index : shard.indices()) {
      const auto [place, fresh] = whose.try_emplace(index, &shard);
      require(fresh, "image {} is in {} and in {}: it would count twice", index, place->second->folder, shard.folder);
    }
}

std::vector<std::string> company_warnings(const Parts& parts) {
  std::vector<std::string> lines;
  const auto has = [&](const char* name) {
    const auto& all = parts.front()->contexts;
    return std::any_of(all.begin(), all.end(), [&](const auto& c) { return c.context == name; });
  };
  const auto& company = parts.front()->company;
  if (has("solo-eot"))
    lines.emplace_back("the companies of solo-eot are drawn among the images of a shard, not of all");
  if (!company || company->size == 0 || (!has("solo") && !has("joint"))) return lines;
  if (company->seed != 0) {
    lines.push_back(
        fmt::format("the companies of solo and joint were drawn within each shard (--company-seed {}): one run "
                    "on all images has others; --company-seed 0 with shards of whole companies has the same",
                    company->seed));
    return lines;
  }
  for (size_t p = 0; p + 1 < parts.size(); ++p)
    if (parts[p]->n % company->size != 0) {
      lines.push_back(
          fmt::format("shards cut companies: {} images are not a multiple of --company {}, so that solo and joint have "
                      "other batches "
                      "than one run on all images; give --first and --count in multiples of {}",
                      parts[p]->n, company->size, company->size));
      break;
    }
  return lines;
}

std::vector<std::string> gap_warnings(const RunResults& merged, const Parts& parts) {
  if (!std::all_of(parts.begin(), parts.end(), [](const auto* part) { return part->indices.empty(); })) return {};
  const auto split_size = parts.front()->split_size;  // unknown in older files, where the ends cannot be seen
  std::vector<std::string> gaps;
  auto next = split_size ? 0 : parts.front()->first_index;
  const auto look = [&](int64_t first) {
    if (first > next)
      gaps.push_back(first - 1 == next ? fmt::format("image {} is", next)
                                       : fmt::format("images {} to {} are", next, first - 1));
  };
  for (const auto* part : parts) {
    look(part->first_index);
    next = part->first_index + part->n;
  }
  if (split_size) look(*split_size);
  std::vector<std::string> lines;
  for (const auto& gap : gaps)
    lines.push_back(fmt::format("{} in no shard: the figures are of {} images without {}", gap, merged.n,
                                gap.starts_with("images") ? "them" : "it"));
  return lines;
}

}  // namespace hpm
