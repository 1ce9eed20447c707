// Finds the dictionaries of weights in what a checkpoint holds, and takes one.
#include "hpm/io/state_dict.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "hpm/core/fields.h"
#include "hpm/core/text.h"

namespace hpm {
namespace {

constexpr std::array<std::string_view, 6> wrappers{"state_dict", "model_state_dict", "model", "net", "last", "best"};
constexpr size_t rank_of_top = wrappers.size(), rank_of_others = rank_of_top + 1, rank_of_averages = rank_of_top + 2;
constexpr size_t unread_limit = 100;

/// A dictionary that holds tensors, and the way to it.
struct Found {
  std::vector<std::string> path;    ///< keys, and places in lists
  std::vector<std::string> peeled;  ///< the same as a user reads it
  Dict* dict = nullptr;
  size_t tensors = 0;
  bool weights = false;  ///< looks like a network's: several tensors of floating point, one of them a matrix or more

  std::string key() const { return path.empty() ? "." : fmt::format("{}", fmt::join(path, ".")); }
};

bool is_word(std::string_view text, std::string_view word) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const bool begins = at == 0 || !letter(text[at - 1]);
    if (begins && (at + word.size() == text.size() || !letter(text[at + word.size()]))) return true;
  }
  return false;
}

bool is_average(std::string_view key) {
  const std::array<std::string_view, 7> words{"ema", "EMA", "swa", "averaged", "average", "shadow", "teacher"};
  return std::ranges::any_of(words, [&](std::string_view word) { return is_word(key, word); });
}

/// Dicts of an optimiser's state look like weights and are none.
bool is_optimiser(std::string_view key) {
  std::string lower(key);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return lower.starts_with("opt") || lower.find("optim") != std::string::npos;
}

std::vector<size_t> ranks_of(const Found& found) {
  std::vector<size_t> out;
  for (const auto& key : found.path) out.push_back(wrapper_rank(key));
  out.push_back(rank_of_top);
  return out;
}

/// Whether nothing but the order in the file prefers one to the other.
bool alike(const Found& a, const Found& b) {
  const auto differ = std::ranges::mismatch(a.path, b.path);
  return differ.in1 != a.path.end() && differ.in2 != b.path.end() &&
         wrapper_rank(*differ.in1) == wrapper_rank(*differ.in2);
}

class Search {
 public:
  std::vector<Found> all;

  void look(Value& value) {
    if (auto* dict = value.as<Dict>()) return look_into(*dict);
    if (auto* opaque = value.as<Opaque>()) {
      if (!opaque->tensors) return;
      here_.peeled.push_back(fmt::format("{} {}", opaque->is_module ? "module" : "object", opaque->name));
      add(*opaque->tensors);
      here_.peeled.pop_back();
      return;
    }
    auto* items = value.as<List>() ? &value.as<List>()->items : value.as<Tuple>() ? &value.as<Tuple>()->items : nullptr;
    if (!items) return;
    if (items->size() == 1) {
      here_.peeled.push_back(value.as<List>() ? "list of one" : "tuple of one");
      look(items->front());
      here_.peeled.pop_back();
      return;
    }
    for (size_t i = 0; i < items->size(); ++i) step(std::to_string(i), (*items)[i]);
  }

 private:
  void look_into(Dict& dict) {
    add(dict);
    for (auto& entry : dict.entries)
      if (const auto* key = std::get_if<std::string>(&entry.key); key && !is_optimiser(*key)) step(*key, entry.value);
  }
  void step(const std::string& key, Value& value) {
    here_.path.push_back(key);
    here_.peeled.push_back(fmt::format("key \"{}\"", key));
    look(value);
    here_.path.pop_back();
    here_.peeled.pop_back();
  }
  void add(Dict& dict) {
    Found found = here_;
    size_t floating = 0;
    bool matrix = false;
    for (const auto& entry : dict.entries) {
      const auto* tensor = entry.value.as<TensorPointer>();
      if (!tensor || !std::holds_alternative<std::string>(entry.key)) continue;
      ++found.tensors;
      floating += is_floating((*tensor)->type);
      matrix = matrix || (is_floating((*tensor)->type) && (*tensor)->shape.size() >= 2);
    }
    if (found.tensors == 0) return;
    found.weights = floating >= 2 && matrix;
    found.dict = &dict;
    all.push_back(std::move(found));
  }

  Found here_;
};

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

std::vector<std::string> keys_of(const std::vector<Found>& all) {
  std::vector<std::string> keys;
  for (const auto& found : all) keys.push_back(found.key());
  return keys;
}

/// "a (62 tensors), b (2 tensors)": at most a dozen.
std::string text_of_candidates(const std::vector<Found>& all) {
  std::vector<std::string> parts;
  for (const auto& found : all) {
    if (parts.size() == 12) {
      parts.push_back(fmt::format("and {} more", all.size() - 12));
      break;
    }
    parts.push_back(fmt::format("{} ({} tensors)", found.key().substr(0, 200), found.tensors));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

bool has_prefix(const Dict& dict, const std::string& prefix) {
  return std::ranges::any_of(dict.entries, [&](const DictEntry& entry) {
    const auto* key = std::get_if<std::string>(&entry.key);
    return key && key->starts_with(prefix + ".") && entry.value.as<TensorPointer>();
  });
}

/// The one that is preferred where nobody chooses; `all` is not empty and sorted by rank.
const Found& preferred(const std::vector<Found>& all, const std::string& name) {
  const auto& first = all.front();
  if (std::ranges::any_of(all, [&](const Found& other) { return alike(first, other); }))
    fail("{}: several keys hold weights, and none of them has a usual name: {}. Choose one with --key NAME", name,
         text_of_candidates(all));
  return first;
}

/// What `key` names: a dictionary by its path, or the beginning or the end of the path; else a prefix of names, which
/// stays in `prefix`.
const Found& chosen(const std::vector<Found>& all, const std::string& key, const std::string& name,
                    std::string& prefix) {
  std::vector<const Found*> inside, ending;
  for (const auto& found : all) {
    const auto path = found.key();
    if (path == key) return found;
    if (path.starts_with(key + ".")) inside.push_back(&found);
    if (path.ends_with("." + key)) ending.push_back(&found);
  }
  if (!inside.empty()) return *inside.front();
  if (ending.size() == 1) return *ending.front();
  for (const auto& found : all) {
    const auto path = found.key() + ".";
    const bool below = key.starts_with(path);
    prefix = below ? key.substr(path.size()) : key;
    if ((below || &found == &all.front()) && has_prefix(*found.dict, prefix)) return found;
  }
  const auto nearest = nearest_name(key, keys_of(all));
  fail_usage("{}: --key {}: the file holds no weights of this name, but: {}{}", name, key, text_of_candidates(all),
             nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
}

/// Numbers and texts of the dicts on the way to the weights, and of their own.
void keep_scalars(const Value& value, std::span<const std::string> path, StateDict& out) {
  if (const auto* items = value.items()) {
    if (items->size() == 1) return keep_scalars(items->front(), path, out);
    if (!path.empty()) keep_scalars((*items)[std::stoul(path.front())], path.subspan(1), out);
    return;
  }
  const auto* dict = value.as<Dict>();
  if (!dict) return;
  for (const auto& entry : dict->entries)
    if (std::string text = entry.value.scalar_text(); !text.empty()) out.scalars[text_of(entry.key)] = std::move(text);
  if (const auto* inner = path.empty() ? nullptr : value.find(path.front())) keep_scalars(*inner, path.subspan(1), out);
}

/// The objects that were not read, with the way to each; beyond a limit their number.
class Unread {
 public:
  std::vector<std::string> lines;
  size_t more = 0;

  void list(const Value& value, const std::string& path, const Dict* weights) {
    if (const auto* opaque = value.as<Opaque>(); opaque && !opaque->tensors) add(*opaque, path);
    const auto step = [&](const std::string& key, const Value& inner) {
      list(inner, path.empty() ? key : path + "." + key, weights);
    };
    if (const auto* items = value.items())
      for (size_t i = 0; i < items->size(); ++i) step(std::to_string(i), (*items)[i]);
    const auto* dict = value.as<Dict>();
    if (!dict || dict == weights) return;
    for (const auto& entry : dict->entries) step(text_of(entry.key).substr(0, 100), entry.value);
  }

 private:
  void add(const Opaque& opaque, const std::string& path) {
    if (lines.size() == unread_limit) ++more;
    else lines.push_back(fmt::format("{} ({})", path.empty() ? "the file" : path, opaque.name.substr(0, 200)));
  }
};

void take_tensors(Dict dict, StateDict& out) {
  for (auto& entry : dict.entries) {
    if (auto* tensor = entry.value.as<TensorPointer>()) {
      // A tensor that two names share is copied for one of them.
      StoredTensor taken = tensor->use_count() == 1 ? std::move(**tensor) : **tensor;
      tensor->reset();
      out.tensors.emplace_back(text_of(entry.key), std::move(taken));
      continue;
    }
    out.ignored.push_back(fmt::format("{} ({})", text_of(entry.key), entry.value.description()));
  }
}

[[noreturn]] void fail_without_weights(const Value& root, const std::string& name) {
  if (const auto* opaque = root.as<Opaque>())
    fail(
        "{}: holds an object of {} instead of weights. hpm calls nothing that a file names: load it where it came from "
        "and save its weights with torch.save(model.state_dict(), FILE)",
        name, opaque->name.substr(0, 200));
  fail("{}: no weights were found. At the top there is: {}", name, text_of_keys(root));
}

/// Which sets of weights there are, the preferred first.
std::vector<Found> weights_in(Value& root, const std::string& name) {
  Search search;
  search.look(root);
  auto& all = search.all;
  if (std::ranges::any_of(all, &Found::weights)) std::erase_if(all, [](const Found& found) { return !found.weights; });
  if (all.empty()) fail_without_weights(root, name);
  std::ranges::stable_sort(all, {}, ranks_of);
  return std::move(all);
}

/// What a user should know of the choice.
void say_choice(const std::vector<Found>& all, const Found& taken, bool by_key, StateDict& out) {
  for (const auto& found : all) out.candidates.push_back({found.key(), found.tensors});
  out.key = taken.key();
  out.peeled = taken.peeled;
  if (all.size() < 2) return;
  std::vector<Found> rest;
  std::vector<std::string> others;
  for (const auto& found : all)
    if (&found != &taken) rest.push_back(found), others.push_back(found.key().substr(0, 200));
  if (out.peeled.empty()) out.peeled.emplace_back("the tensors at the top");
  out.peeled.back() +=
      fmt::format(" (others: {})", fmt::join(std::span(others).first(std::min<size_t>(others.size(), 12)), ", "));
  if (!by_key)
    out.warnings.push_back(
        fmt::format("the file holds several sets of weights: {} was taken; --key NAME chooses another: {}", out.key,
                    text_of_candidates(rest)));
}

}  // namespace

size_t wrapper_rank(const std::string& key) {
  if (is_average(key)) return rank_of_averages;
  const auto found = std::ranges::find(wrappers, key);
  return found != wrappers.end() ? static_cast<size_t>(found - wrappers.begin()) : rank_of_others;
}

StateDict peel(Value root, const std::string& name, const std::string& key) {
  StateDict out;
  const auto all = weights_in(root, name);
  std::string prefix;
  const auto& taken = key.empty() ? preferred(all, name) : chosen(all, key, name, prefix);
  say_choice(all, taken, !key.empty(), out);
  keep_scalars(root, taken.path, out);
  Unread unread;
  unread.list(root, "", taken.dict);
  if (unread.more > 0) unread.lines.push_back(fmt::format("and {} more", unread.more));
  out.unread = std::move(unread.lines);
  Dict dict = std::move(*taken.dict);
  root = {};  // what is beside the weights goes before they are taken
  take_tensors(std::move(dict), out);
  strip_names(out, name, prefix);
  for (auto* lines : {&out.peeled, &out.ignored, &out.unread, &out.warnings})
    for (auto& line : *lines) line = printable(std::move(line));
  return out;
}

}  // namespace hpm
