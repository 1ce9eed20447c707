#include <algorithm>
#include <map>

#include "hpm/models/network_part_impl.h"

namespace hpm {
namespace {

struct PrefixCount {
  std::string prefix;
  size_t count;
};

/// Prefixes of up to four modules with at least two tensors below them, those with most tensors first.
std::vector<PrefixCount> prefixes_of(const NamedTensors& tensors) {
  constexpr int64_t deepest = 4;
  constexpr size_t most = 24;
  std::map<std::string, size_t> counts;
  for (const auto& [name, tensor] : tensors) {
    size_t dot = name.find('.');
    for (int64_t depth = 0; depth < deepest && dot != std::string::npos; ++depth, dot = name.find('.', dot + 1))
      ++counts[name.substr(0, dot + 1)];
  }
  std::vector<PrefixCount> out;
  for (const auto& [prefix, count] : counts)
    if (count >= 2) out.push_back({prefix, count});
  std::ranges::stable_sort(out, std::greater(), &PrefixCount::count);
  if (out.size() > most) out.resize(most);
  return out;
}

/// A whole number in a module without weights.
bool is_counter(const NamedTensors::value_type& named, const NamedTensors& all) {
  const auto module_of = [](const std::string& name) { return name.substr(0, name.find('.')); };
  const auto module = module_of(named.first);
  return !named.second.is_floating_point() && std::ranges::none_of(all, [&](const auto& other) {
    return other.second.is_floating_point() && module_of(other.first) == module;
  });
}

std::vector<size_t> ranks_of(const std::string& prefix) {
  std::vector<size_t> out;
  for (size_t begin = 0, dot; (dot = prefix.find('.', begin)) != std::string::npos; begin = dot + 1)
    out.push_back(wrapper_rank(prefix.substr(begin, dot - begin)));
  return out;
}

}  // namespace

NamedTensors tensors_below(const NamedTensors& tensors, const std::string& prefix) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) out.emplace_back(name.substr(prefix.size()), tensor);
  return out;
}

std::string bulk_prefix(const NamedTensors& tensors) {
  for (const auto& [prefix, count] : prefixes_of(tensors))
    if (2 * count >= tensors.size() && count < tensors.size()) return prefix;
  return {};
}

NetworkPart find_network_part(const NamedTensors& tensors, const FitsWhole& fits) {
  NetworkPart whole;
  whole.arch = fits(tensors, whole.notes);
  if (whole) {
    whole.tensors = tensors;
    return whole;
  }
  // Whole numbers that belong to no layer count something: "step" beside the layers of a network.
  whole.notes.clear();
  for (const auto& named : tensors) (is_counter(named, tensors) ? whole.beside : whole.tensors).push_back(named);
  if (!whole.beside.empty()) whole.arch = fits(whole.tensors, whole.notes);
  if (whole) return whole;
  std::vector<NetworkPart> found;
  for (const auto& [prefix, count] : prefixes_of(tensors)) {
    const auto inside = [&, &p = prefix](const NetworkPart& part) { return p.starts_with(part.prefix); };
    if (std::ranges::any_of(found, inside)) continue;
    NetworkPart part{.prefix = prefix,
                     .arch = {},
                     .tensors = tensors_below(tensors, prefix),
                     .notes = {},
                     .beside = {},
                     .others = {}};
    part.arch = fits(part.tensors, part.notes);
    if (part) found.push_back(std::move(part));
  }
  if (found.empty()) return {};
  std::ranges::stable_sort(found, {}, [](const NetworkPart& part) { return ranks_of(part.prefix); });
  for (const auto& named : tensors) {
    const auto holds = [&](const NetworkPart& part) { return named.first.starts_with(part.prefix); };
    if (std::ranges::none_of(found, holds)) found.front().beside.push_back(named);
  }
  for (size_t i = 1; i < found.size(); ++i)
    found.front().others.push_back({found[i].prefix.substr(0, found[i].prefix.size() - 1), found[i].tensors.size()});
  return std::move(found.front());
}

}  // namespace hpm
