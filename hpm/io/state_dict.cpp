#include "hpm/io/state_dict.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace hpm {
namespace {

constexpr std::array<std::string_view, 7> wrappers{"state_dict", "model_state_dict", "model", "net", "last",
                                                   "best",       "ema_state_dict"};
constexpr std::array<std::string_view, 3> prefixes{"module.", "model.", "_orig_mod."};
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> normalisation_names{
    {{"mean", "std"}, {"mu", "sigma"}}};

// A dict with a tensor in it, or a list of one such, or a dict with such under a wrapper's key.
bool holds_weights(const Value& value) {
  if (const auto* items = value.items()) return items->size() == 1 && holds_weights(items->front());
  const auto* dict = value.as<Dict>();
  if (!dict) return false;
  return std::ranges::any_of(dict->entries, [](const DictEntry& entry) {
    if (entry.value.as<TensorPointer>()) return true;
    const auto* key = std::get_if<std::string>(&entry.key);
    return key && std::ranges::find(wrappers, *key) != wrappers.end() && holds_weights(entry.value);
  });
}

// Where a key stands in the order of preference; names that are no wrappers come last.
size_t rank_of(const std::string& key) {
  const auto found = std::ranges::find(wrappers, key);
  if (found != wrappers.end()) return static_cast<size_t>(found - wrappers.begin());
  return wrappers.size() + (key.starts_with("ema") ? 0 : 1);
}

std::string text_of_keys(const Value& value) {
  const auto* dict = value.as<Dict>();
  if (!dict) return value.description();
  std::vector<std::string> keys;
  for (const auto& entry : dict->entries) {
    if (keys.size() == 20) {
      keys.push_back(fmt::format("and {} more", dict->entries.size() - 20));
      break;
    }
    keys.push_back(fmt::format("{} ({})", text_of(entry.key).substr(0, 100), entry.value.description()));
  }
  return keys.empty() ? "an empty dict" : fmt::format("{}", fmt::join(keys, ", "));
}

void keep_scalar(StateDict& out, const DictEntry& entry) {
  if (std::string text = entry.value.scalar_text(); !text.empty()) out.scalars[text_of(entry.key)] = std::move(text);
}

// The entry of a wrapping dict to go on with; null when the dict itself is the state_dict.
DictEntry* wrapped(Dict& dict, const std::string& name, StateDict& out) {
  std::vector<DictEntry*> candidates;
  bool tensors = false;
  for (auto& entry : dict.entries) {
    tensors = tensors || entry.value.as<TensorPointer>();
    if (std::holds_alternative<std::string>(entry.key) && holds_weights(entry.value)) candidates.push_back(&entry);
  }
  const auto rank = [](const DictEntry* entry) { return rank_of(std::get<std::string>(entry->key)); };
  std::ranges::stable_sort(candidates, {}, rank);
  const size_t unknown = wrappers.size() + 1;
  if (candidates.empty() || (tensors && rank(candidates.front()) == unknown)) return nullptr;
  std::vector<std::string> others;
  for (size_t i = 1; i < candidates.size(); ++i) others.push_back(std::get<std::string>(candidates[i]->key));
  if (!others.empty() && rank(candidates.front()) == unknown)
    fail("{}: several keys hold tensors, and none has a usual name: {}. Save the one you mean alone", name,
         text_of_keys(Value{std::move(dict)}));
  out.peeled.push_back(fmt::format("key \"{}\"{}", std::get<std::string>(candidates.front()->key),
                                   others.empty() ? "" : fmt::format(" (others: {})", fmt::join(others, ", "))));
  return candidates.front();
}

// Takes the wrapping off one level at a time; what is left is the state_dict, if it is one.
Value unwrap(Value value, const std::string& name, StateDict& out) {
  for (;;) {
    if (auto* list = value.as<List>(); list && list->items.size() == 1) {
      out.peeled.push_back("list of one");
      value = Value(std::move(list->items.front()));
      continue;
    }
    if (auto* tuple = value.as<Tuple>(); tuple && tuple->items.size() == 1) {
      out.peeled.push_back("tuple of one");
      value = Value(std::move(tuple->items.front()));
      continue;
    }
    auto* dict = value.as<Dict>();
    DictEntry* inner = dict ? wrapped(*dict, name, out) : nullptr;
    if (!inner) return value;
    for (const auto& entry : dict->entries) keep_scalar(out, entry);
    value = Value(std::move(inner->value));
  }
}

bool all_start_with(const NamedStoredTensors& tensors, std::string_view prefix) {
  return !tensors.empty() && std::ranges::all_of(tensors, [&](const auto& named) {
    return named.first.size() > prefix.size() && named.first.starts_with(prefix);
  });
}

bool strip(StateDict& out, std::string_view prefix) {
  if (!all_start_with(out.tensors, prefix)) return false;
  for (auto& named : out.tensors) named.first.erase(0, prefix.size());
  out.peeled.push_back(fmt::format("prefix \"{}\"", prefix));
  return true;
}

bool strip_prefix(StateDict& out) {
  // A layer that is alone in a Sequential has all its names under "0." too; what it leaves has no further dot.
  const bool sequential =
      std::ranges::any_of(out.tensors, [](const auto& named) { return std::ranges::count(named.first, '.') > 2; });
  if (sequential && strip(out, "module.0.")) return true;
  return std::ranges::any_of(prefixes, [&](std::string_view prefix) { return strip(out, prefix); });
}

// A value per channel: [C], [C,1,1] or [1,C,1,1].
bool is_per_channel(const StoredTensor& tensor) {
  const bool real = tensor.type >= ScalarType::float16;
  const auto count = static_cast<int64_t>(tensor.count());
  return real && count >= 1 && count <= 16 &&
         std::ranges::count_if(tensor.shape, [](int64_t n) { return n != 1; }) <= 1;
}

// The layer that holds tensor `name` and no tensor but `name` and `other`: "" for the model itself, "0.", "normalize.";
// none where there is no such layer.
std::optional<std::string> normalising_layer(const NamedStoredTensors& tensors, std::string_view name,
                                             std::string_view other) {
  for (const auto& [key, tensor] : tensors) {
    if (!key.ends_with(name) || !is_per_channel(tensor)) continue;
    const std::string layer = key.substr(0, key.size() - name.size());
    if (layer.empty()) return layer;
    if (layer.find('.') != layer.size() - 1) continue;
    const auto own = [&](const auto& named) {
      return !named.first.starts_with(layer) || named.first == layer + std::string(name) ||
             named.first == layer + std::string(other);
    };
    if (std::ranges::all_of(tensors, own)) return layer;
  }
  return std::nullopt;
}

StoredTensor take(NamedStoredTensors& tensors, NamedStoredTensors::iterator place) {
  StoredTensor out = std::move(place->second);
  tensors.erase(place);
  return out;
}

bool take_normalisation(StateDict& out) {
  if (out.normalisation || out.tensors.size() < 3) return false;
  const auto find = [&](const std::string& name) {
    return std::ranges::find(out.tensors, name, &NamedStoredTensors::value_type::first);
  };
  for (const auto& [mean_name, std_name] : normalisation_names) {
    const auto layer = normalising_layer(out.tensors, mean_name, std_name);
    if (!layer) continue;
    const std::string mean_key = *layer + std::string(mean_name), std_key = *layer + std::string(std_name);
    const auto std = find(std_key);
    if (std == out.tensors.end() || !is_per_channel(std->second)) continue;
    if (std->second.count() != find(mean_key)->second.count()) continue;
    StoredTensor std_values = take(out.tensors, std);
    out.normalisation = {take(out.tensors, find(mean_key)), std::move(std_values)};
    out.peeled.push_back(fmt::format("input normalisation \"{}\", \"{}\"", mean_key, std_key));
    if (*layer == "0.") strip(out, "1.");  // Sequential(normalisation, model)
    return true;
  }
  return false;
}

// Modules that are registered twice: their second names lead to copies of the same weights.
void drop_second_names(StateDict& out) {
  const auto is_copy = [&](const auto& named) {
    return named.first.starts_with("model_preact_hl1.") && std::ranges::any_of(out.tensors, [&](const auto& other) {
             return !other.first.starts_with("model_preact_hl1.") && other.second == named.second;
           });
  };
  std::vector<std::string> names;
  for (const auto& named : out.tensors)
    if (is_copy(named)) names.push_back(named.first);
  for (const auto& name : names) {
    std::erase_if(out.tensors, [&](const auto& named) { return named.first == name; });
    out.ignored.push_back(fmt::format("{} (a second name of another tensor)", name));
  }
}

}  // namespace

StateDict peel(Value root, const std::string& name) {
  StateDict out;
  const std::string keys = text_of_keys(root);
  Value inner = unwrap(std::move(root), name, out);
  if (auto* dict = inner.as<Dict>()) {
    for (auto& entry : dict->entries) {
      if (auto* tensor = entry.value.as<TensorPointer>()) {
        // A tensor that two names share is copied for one of them.
        StoredTensor taken = tensor->use_count() == 1 ? std::move(**tensor) : **tensor;
        tensor->reset();
        out.tensors.emplace_back(text_of(entry.key), std::move(taken));
        continue;
      }
      keep_scalar(out, entry);
      out.ignored.push_back(fmt::format("{} ({})", text_of(entry.key), entry.value.description()));
    }
  }
  if (out.tensors.empty()) fail("{}: no weights were found. At the top there is: {}", name, keys);
  strip_names(out);
  return out;
}

void strip_names(StateDict& state) {
  while (strip_prefix(state) || take_normalisation(state)) {
  }
  drop_second_names(state);
}

}  // namespace hpm
