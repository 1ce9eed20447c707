// What stands around the names of a network's tensors, and beside them.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "hpm/core/text.h"
#include "hpm/io/state_dict.h"

namespace hpm {
namespace {

using Named = NamedStoredTensors::value_type;

/// Modules that put a module of their own around each layer.
constexpr std::array<std::string_view, 3> inner_wrappers{"_orig_mod.", "_fsdp_wrapped_module.",
                                                         "_checkpoint_wrapped_module."};

/// HPM's own tensors lie beside a network's under this name, whatever its prefix is.
bool is_own(const Named& named) { return named.first.starts_with("hpm."); }

/// The longest prefix, up to a dot, that the names share. It leaves a dot in one name at least: a layer alone in a
/// Sequential keeps its number.
std::string common_prefix(const std::vector<std::string_view>& names) {
  if (names.empty()) return {};
  std::string_view prefix = names.front();
  prefix = prefix.substr(0, prefix.rfind('.') + 1);
  for (const auto name : names)
    while (!name.starts_with(prefix)) prefix = prefix.substr(0, prefix.substr(0, prefix.size() - 1).rfind('.') + 1);
  const auto leaves_dot = [&](std::string_view name) {
    return name.find('.', prefix.size()) != std::string_view::npos;
  };
  while (!prefix.empty() && std::ranges::none_of(names, leaves_dot))
    prefix = prefix.substr(0, prefix.substr(0, prefix.size() - 1).rfind('.') + 1);
  return std::string(prefix);
}

std::string described(const Named& named) {
  return fmt::format("{} ({} {})", named.first, name_of(named.second.type), text_of_shape(named.second.shape));
}

class NameStripper {
 public:
  NameStripper(StateDict& state, const std::string& name) : state_(state), tensors_(state.tensors), name_(name) {}

  void run(const std::string& key) {
    strip_common();  // "module.", which may stand before the prefix that was asked for
    if (!key.empty()) take_below(key);
    while (strip_common() || strip_inner() || take_normalisation() || drop_counters() || drop_second_copy()) {
    }
    drop_second_normalisation();
    drop_second_names();
  }

 private:
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> out;
    for (const auto& named : tensors_)
      if (!is_own(named)) out.push_back(named.first);
    return out;
  }
  auto find(const std::string& name) { return std::ranges::find(tensors_, name, &Named::first); }

  void remove_prefix(const std::string& prefix) {
    for (auto& named : tensors_)
      if (!is_own(named)) named.first.erase(0, prefix.size());
    state_.peeled.push_back(fmt::format("prefix \"{}\"", prefix));
    state_.prefix += prefix;
  }

  bool strip_common() {
    const auto prefix = common_prefix(names());
    if (prefix.empty()) return false;
    remove_prefix(prefix);
    return true;
  }

  bool strip_inner() {
    bool any = false;
    for (const auto wrapper : inner_wrappers) {
      std::vector<std::string> shorter;
      std::set<std::string> different;
      for (const auto& named : tensors_) {
        std::string name = named.first;
        for (size_t at; (at = name.find(wrapper)) != std::string::npos && (at == 0 || name[at - 1] == '.');)
          name.erase(at, wrapper.size());
        different.insert(name);
        shorter.push_back(std::move(name));
      }
      bool changed = false;
      for (size_t i = 0; i < shorter.size(); ++i) changed = changed || shorter[i] != tensors_[i].first;
      if (!changed || different.size() != shorter.size()) continue;
      for (size_t i = 0; i < shorter.size(); ++i) tensors_[i].first = std::move(shorter[i]);
      state_.peeled.push_back(fmt::format("\"{}\" inside the names", wrapper));
      any = true;
    }
    return any;
  }

  /// The tensors below a prefix alone; a normalisation beside them stays theirs.
  void take_below(const std::string& key) {
    while (take_normalisation()) {
    }
    const std::string prefix = key + ".";
    const auto below = [&](const Named& named) { return named.first.starts_with(prefix); };
    std::string shortened = prefix;  // what strip_common() took off may be part of the key
    if (std::ranges::none_of(tensors_, below) && prefix.starts_with(state_.prefix))
      shortened = prefix.substr(state_.prefix.size());
    const auto here = [&](const Named& named) { return named.first.starts_with(shortened); };
    if (!shortened.empty() && std::ranges::none_of(tensors_, here))
      fail_usage("{}: --key {}: no tensor's name begins so, but: {}", name_, key, text_of_groups());
    leave_out([&](const Named& named) { return !is_own(named) && !here(named); });
    if (!shortened.empty()) remove_prefix(shortened);
  }

  /// "model.* (62 tensors), fc.* (2 tensors)"
  std::string text_of_groups() const {
    std::map<std::string, size_t> groups;
    for (const auto name : names()) ++groups[std::string(name.substr(0, name.find('.')))];
    std::vector<std::string> parts;
    for (const auto& [group, count] : groups)
      if (parts.size() < 12) parts.push_back(fmt::format("{} ({} tensors)", group, count));
    return fmt::format("{}{}", fmt::join(parts, ", "), groups.size() > 12 ? ", ..." : "");
  }

  template <class Where>
  bool leave_out(Where where) {
    std::map<std::string, std::pair<size_t, std::string>> groups;  // many of one module are one line
    for (const auto& named : tensors_)
      if (where(named)) {
        auto& [count, text] = groups[named.first.substr(0, named.first.find('.'))];
        const auto module = named.first.substr(0, named.first.find('.'));
        text = ++count == 1 ? described(named) : fmt::format("{}.* ({} tensors)", module, count);
      }
    for (const auto& [group, line] : groups) state_.ignored.push_back(line.second);
    return std::erase_if(tensors_, where) > 0;
  }

  /// Counters and metrics: whole numbers and single values beside the prefix that all weights share.
  bool drop_counters() {
    std::vector<std::string_view> weights;
    const auto is_counter = [](const Named& named) {
      const auto type = named.second.type;
      return named.second.shape.empty() || type == ScalarType::int32 || type == ScalarType::int64;
    };
    for (const auto& named : tensors_)
      if (!is_own(named) && !is_counter(named)) weights.push_back(named.first);
    const auto prefix = common_prefix(weights);
    if (prefix.empty()) return false;
    return leave_out(
        [&](const Named& named) { return !is_own(named) && is_counter(named) && !named.first.starts_with(prefix); });
  }

  // Normalisation

  struct Pair {
    std::string layer, mean, std;  ///< names with their layer, which ends in a dot or is empty
  };

  /// A value per channel: [C], [C,1,1] or [1,C,1,1].
  static bool is_per_channel(const StoredTensor& tensor) {
    const auto count = static_cast<int64_t>(tensor.count());
    return is_floating(tensor.type) && count >= 1 && count <= 16 &&
           std::ranges::count_if(tensor.shape, [](int64_t n) { return n != 1; }) <= 1;
  }

  /// The name of the deviation that belongs to a mean: "new_mean" -> "new_std"; "" for what is no mean.
  static std::vector<std::string> deviations_of(std::string_view mean) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 8> words{{{"mean", "std"},
                                                                                  {"mean", "stdev"},
                                                                                  {"mean", "stddev"},
                                                                                  {"mean", "sd"},
                                                                                  {"means", "stds"},
                                                                                  {"mu", "sigma"},
                                                                                  {"avg", "std"},
                                                                                  {"sub", "div"}}};
    std::vector<std::string> out;
    for (const auto& [from, to] : words) {
      // The word is the whole name or stands behind or before an underscore: image_mean, mean_rgb.
      for (size_t at = mean.find(from); at != std::string_view::npos; at = mean.find(from, at + 1)) {
        const size_t end = at + from.size();
        if ((at > 0 && mean[at - 1] != '_') || (end < mean.size() && mean[end] != '_')) continue;
        out.push_back(std::string(mean.substr(0, at)) + std::string(to) + std::string(mean.substr(end)));
      }
    }
    return out;
  }

  /// The normalising layers near the top, the outermost first: of the model itself, or with nothing else in them.
  std::vector<Pair> normalising_pairs() {
    size_t looks = 1000;  // names are the file's: a hostile one must not be searched for ever
    std::vector<Pair> pairs;
    for (const auto& [key, tensor] : tensors_) {
      if (!is_per_channel(tensor) || key.find("running_") != std::string::npos) continue;
      const auto dot = key.rfind('.');
      const auto layer = dot == std::string::npos ? std::string() : key.substr(0, dot + 1);
      if (std::ranges::count(layer, '.') > 3) continue;
      for (const auto& deviation : deviations_of(std::string_view(key).substr(layer.size()))) {
        if (looks-- == 0) return pairs;
        const auto std = find(layer + deviation);
        if (std == tensors_.end() || !is_per_channel(std->second) || std->second.count() != tensor.count()) continue;
        const bool alone = std::ranges::all_of(tensors_, [&](const Named& named) {
          return !named.first.starts_with(layer) || named.first == key || named.first == std->first;
        });
        if (layer.empty() || alone) pairs.push_back({layer, key, std->first});
        break;
      }
    }
    std::ranges::stable_sort(pairs, {}, [](const Pair& pair) { return std::ranges::count(pair.layer, '.'); });
    return pairs;
  }

  StoredTensor take(const std::string& name) {
    const auto place = find(name);
    StoredTensor out = std::move(place->second);
    tensors_.erase(place);
    return out;
  }

  bool take_normalisation() {
    if (state_.normalisation || tensors_.size() < 3) return false;
    const auto pairs = normalising_pairs();
    if (pairs.empty()) return false;
    const auto& [layer, mean, std] = pairs.front();
    StoredTensor deviation = take(std);
    state_.normalisation = {take(mean), std::move(deviation)};
    state_.peeled.push_back(fmt::format("input normalisation \"{}\", \"{}\"", mean, std));
    drop_second_normalisation();
    return true;
  }

  /// The same values again, as of a second module that is made of the same parts.
  void drop_second_normalisation() {
    if (!state_.normalisation) return;
    for (const auto& [layer, mean, std] : normalising_pairs()) {
      const auto &first = find(mean)->second.data, &second = find(std)->second.data;
      if (first != state_.normalisation->mean.data || second != state_.normalisation->std.data) continue;
      state_.ignored.push_back(fmt::format("{}, {} (the same normalisation again)", mean, std));
      take(mean), take(std);
    }
  }

  // Second names

  /// Modules that are registered twice: where one module holds the whole network and all other tensors are copies of
  /// its own, these are left out.
  bool drop_second_copy() {
    std::vector<std::string> modules;
    for (const auto name : names())
      if (const auto dot = name.find('.'); dot != std::string_view::npos)
        if (std::string module(name.substr(0, dot + 1)); std::ranges::find(modules, module) == modules.end())
          modules.push_back(std::move(module));
    if (modules.size() > 64) return false;
    std::ranges::stable_sort(
        modules, {}, [](const std::string& module) { return wrapper_rank(module.substr(0, module.size() - 1)); });
    return std::ranges::any_of(modules, [&](const std::string& module) { return drop_copies_of(module); });
  }

  bool drop_copies_of(const std::string& module) {
    std::map<std::string_view, const StoredTensor*> own;
    bool network = false;
    for (const auto& named : tensors_)
      if (named.first.starts_with(module)) {
        const auto name = std::string_view(named.first).substr(module.size());
        own.emplace(name, &named.second);
        network = network || name.find('.') != std::string_view::npos;
      }
    const auto is_copy = [&](const Named& named) {
      for (std::string_view rest = named.first;;) {
        if (const auto found = own.find(rest); found != own.end()) return *found->second == named.second;
        const auto dot = rest.find('.');
        if (dot == std::string_view::npos) return false;
        rest.remove_prefix(dot + 1);
      }
    };
    const auto other = [&](const Named& named) { return !is_own(named) && !named.first.starts_with(module); };
    const auto count = std::ranges::count_if(tensors_, other);
    if (!network || count == 0) return false;
    if (!std::ranges::all_of(tensors_, [&](const Named& named) { return !other(named) || is_copy(named); }))
      return false;
    state_.ignored.push_back(fmt::format("{} tensors that are second names of those below \"{}\"", count, module));
    std::erase_if(tensors_, other);
    return true;
  }

  /// The second names that some files give to their first layers.
  void drop_second_names() {
    constexpr std::string_view second = "model_preact_hl1.";
    const auto is_copy = [&](const Named& named) {
      return named.first.starts_with(second) && std::ranges::any_of(tensors_, [&](const Named& other) {
               return !other.first.starts_with(second) && other.second == named.second;
             });
    };
    std::vector<std::string> copies;
    for (const auto& named : tensors_)
      if (is_copy(named)) copies.push_back(named.first);
    for (const auto& name : copies) {
      std::erase_if(tensors_, [&](const Named& named) { return named.first == name; });
      state_.ignored.push_back(fmt::format("{} (a second name of another tensor)", name));
    }
  }

  StateDict& state_;
  NamedStoredTensors& tensors_;
  const std::string& name_;
};

}  // namespace

void strip_names(StateDict& state, const std::string& name, const std::string& key) {
  NameStripper(state, name).run(key);
}

}  // namespace hpm
