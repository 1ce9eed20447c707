// From the graph of a pickle to a tree of values: finite, of bounded depth and size, with its tensors filled.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "hpm/core/text.h"
#include "hpm/io/pickle.h"
#include "hpm/io/pickle_impl.h"

namespace hpm {
namespace {

using Loader = std::function<Bytes(const StorageName&, ByteRange)>;

class TreeBuilder {
 public:
  TreeBuilder(const PickleGraph& graph, const Loader& load)
      : graph_(graph), load_(load), open_(graph.nodes.size(), false) {
    budget_ = graph.limits.free_bytes;
    const auto& limits = graph.limits;
    values_left_ = std::min(limits.values, limits.free_values + limits.expansion * graph.nodes.size());
    text_left_ = std::min(limits.text, limits.free_text + limits.expansion * graph.text_used);
  }

  Value build(NodeId id) {
    const auto& node = graph_.at(id);
    take_text(node, node.text.size());
    switch (node.kind) {
      case NodeKind::none: return {};
      case NodeKind::boolean: return {node.integer != 0};
      case NodeKind::integer: return {node.integer};
      case NodeKind::real: return {node.real};
      case NodeKind::text: return {node.text};
      case NodeKind::global:
      case NodeKind::foreign: return {Opaque{.name = node.text}};
      case NodeKind::opaque: return {opaque(id, node)};
      case NodeKind::numpy_type: return {"numpy." + node.text};
      case NodeKind::bytes: return {Bytes(std::as_bytes(std::span(node.text)))};
      case NodeKind::storage: return {"storage " + storage_key(node)};
      case NodeKind::tensor: return {tensor(node)};
      case NodeKind::array: return {array(node)};
      default: return container(id, node);
    }
  }

 private:
  const std::string& storage_key(const PickleNode& node) const {
    return graph_.storages[graph_.views[static_cast<size_t>(node.integer)].storage].key;
  }

  Value container(NodeId id, const PickleNode& node) {
    if (open_[id]) graph_.fail_at(node, "an object of the pickle contains itself; no state_dict does");
    if (depth_ >= graph_.limits.depth) graph_.fail_at(node, "the pickle is nested deeper than {}", graph_.limits.depth);
    open_[id] = true;
    ++depth_;
    Value out = node.kind == NodeKind::dict ? dict(node) : sequence(node);
    --depth_;
    open_[id] = false;
    return out;
  }

  Value sequence(const PickleNode& node) {
    std::vector<Value> items;
    for (const NodeId item : node.items) items.push_back(build(item));
    if (node.kind == NodeKind::tuple) return {Tuple{std::move(items)}};
    return {List{std::move(items)}};
  }

  // An object that was named before is shared, not written out again; what names itself comes out without its contents.
  Opaque opaque(NodeId id, const PickleNode& node) {
    const auto [place, added] = opaques_.emplace(id, Opaque{.name = node.text});
    if (!added) return place->second;
    Opaque out = place->second;
    Dict tensors;
    if (is_module(node)) {
      out.is_module = true;
      add_module(id, "", tensors);
    } else {
      for (size_t i = 0; i + 1 < node.items.size(); i += 2)
        if (graph_.at(node.items[i + 1]).kind == NodeKind::tensor && graph_.at(node.items[i]).kind == NodeKind::text)
          tensors.entries.push_back({graph_.at(node.items[i]).text, build(node.items[i + 1])});
    }
    if (!tensors.entries.empty()) out.tensors = std::make_shared<Dict>(std::move(tensors));
    opaques_[id] = out;
    return out;
  }

  /// The value under a text key of a node that is a dict; null for another node or key.
  const PickleNode* find(const PickleNode& node, std::string_view key) const {
    if (node.kind != NodeKind::dict) return nullptr;
    const PickleNode* found = nullptr;  // the last one counts
    for (size_t i = 0; i + 1 < node.items.size(); i += 2)
      if (const auto& name = graph_.at(node.items[i]); name.kind == NodeKind::text && name.text == key)
        found = &graph_.at(node.items[i + 1]);
    return found;
  }

  /// The attributes of an object, where they were given as a dict (or as a pair of one and of slots).
  const PickleNode* attributes(const PickleNode& node) const {
    if (node.kind != NodeKind::opaque || node.integer == kNoState) return nullptr;
    const auto& state = graph_.at(static_cast<NodeId>(node.integer));
    if (state.kind == NodeKind::tuple && state.items.size() == 2) return &graph_.at(state.items[0]);
    return &state;
  }

  /// torch.nn.Module keeps what it holds in three dicts of these names (torch/nn/modules/module.py). Each state is
  /// looked through once, however many objects share it.
  bool is_module(const PickleNode& node) {
    const auto* state = attributes(node);
    if (!state) return false;
    const auto [place, added] = module_states_.emplace(state, false);
    if (added)
      place->second = std::ranges::all_of(std::array{"_parameters", "_buffers", "_modules"}, [&](const char* name) {
        const auto* part = find(*state, name);
        return part && part->kind == NodeKind::dict;
      });
    return place->second;
  }

  /// The names of the buffers that state_dict() leaves out.
  std::vector<std::string_view> hidden_buffers(const PickleNode& state) const {
    std::vector<std::string_view> names;
    if (const auto* hidden = find(state, "_non_persistent_buffers_set"); hidden && hidden->kind == NodeKind::list)
      for (const NodeId item : hidden->items) names.push_back(graph_.at(item).text);
    return names;
  }

  /// Module._save_to_state_dict and state_dict: parameters, buffers, then the modules inside, each under its name.
  void add_module(NodeId id, const std::string& prefix, Dict& out) {
    const auto& node = graph_.at(id);
    if (open_[id]) graph_.fail_at(node, "the module {} contains itself", node.text.substr(0, 200));
    if (depth_ >= graph_.limits.depth) graph_.fail_at(node, "modules are nested deeper than {}", graph_.limits.depth);
    open_[id] = true;
    ++depth_;
    const auto& state = *attributes(node);
    take_values(node, state.items.size());
    const auto hidden = hidden_buffers(state);
    take_values(node, hidden.size());
    for (const char* kind : {"_parameters", "_buffers"}) {
      const auto& items = find(state, kind)->items;
      for (size_t i = 0; i + 1 < items.size(); i += 2) {
        const auto& name = graph_.at(items[i]);
        const bool absent = graph_.at(items[i + 1]).kind == NodeKind::none;
        if (name.kind != NodeKind::text || absent || std::ranges::find(hidden, name.text) != hidden.end()) continue;
        take_text(node, prefix.size());
        out.entries.push_back({prefix + name.text, build(items[i + 1])});
      }
    }
    const auto& inside = find(state, "_modules")->items;
    for (size_t i = 0; i + 1 < inside.size(); i += 2) {
      const auto &name = graph_.at(inside[i]), &module = graph_.at(inside[i + 1]);
      if (name.kind != NodeKind::text || module.kind == NodeKind::none) continue;
      take_text(node, prefix.size() + name.text.size() + 1);
      const auto inner = prefix + name.text + ".";
      if (is_module(module)) add_module(inside[i + 1], inner, out);
      else out.entries.push_back({prefix + name.text, build(inside[i + 1])});
    }
    --depth_;
    open_[id] = false;
  }

  /// One more value with `size` bytes of text.
  void take_text(const PickleNode& node, size_t size) {
    take_values(node, 1);
    if (size > text_left_) fail_expanded(node);
    text_left_ -= size;
  }
  void take_values(const PickleNode& node, size_t count) {
    if (count > values_left_) fail_expanded(node);
    values_left_ -= count;
  }
  [[noreturn]] void fail_expanded(const PickleNode& node) const {
    graph_.fail_at(node, "written out, the pickle's {} objects and {} bytes of text become many times as many",
                   graph_.nodes.size(), graph_.text_used);
  }

  // As in Python, a key given again keeps its place and takes the new value.
  Value dict(const PickleNode& node) {
    Dict out;
    std::unordered_map<std::string, size_t> places;
    for (size_t i = 0; i < node.items.size(); i += 2) {
      Key key = key_of(build(node.items[i]));
      Value value = build(node.items[i + 1]);
      const auto [place, added] = places.emplace((key.index() ? "t" : "i") + text_of(key), out.entries.size());
      if (added) out.entries.push_back({std::move(key), std::move(value)});
      else out.entries[place->second].value = std::move(value);
    }
    return {std::move(out)};
  }

  // Keys that are neither text nor integer stand in metadata only; their text keeps them apart.
  static std::string key_text(const Value& value) {
    if (const auto* opaque = value.as<Opaque>()) return opaque->name;
    if (const auto* bytes = value.as<Bytes>()) return is_utf8(bytes->text()) ? std::string(bytes->text()) : "bytes";
    const auto* items = value.items();
    if (!items) return value.as<Dict>() ? "dict" : value.scalar_text();
    std::string out = "(";
    for (const auto& item : *items) out += (out.size() > 1 ? ", " : "") + key_text(item);
    return out + ")";
  }
  static Key key_of(const Value& value) {
    if (const auto* integer = value.as<int64_t>()) return *integer;
    return key_text(value);
  }

  TensorPointer tensor(const PickleNode& node) {
    auto& made = made_[static_cast<size_t>(node.integer)];
    if (!made) made = std::make_shared<StoredTensor>(fill(node));
    return made;
  }

  TensorPointer array(const PickleNode& node) {
    auto out = std::make_shared<StoredTensor>(stored_array(graph_, node));
    // Its bytes were text of the pickle; named many times, they must not fill the memory.
    if (out->data.size() > text_left_)
      graph_.fail_at(node, "written out, the pickle's arrays become many times as large as its {} bytes of text",
                     graph_.text_used);
    text_left_ -= out->data.size();
    return out;
  }

  StoredTensor fill(const PickleNode& node) {
    const auto& view = graph_.tensors[static_cast<size_t>(node.integer)];
    const auto& storage = graph_.storages[view.storage];
    const uint64_t item = item_size(view.type), size = count_of(view.shape) * item;
    if (size == 0) return {view.type, view.shape, {}};
    const ByteRange part{view.offset * item, reach(view) * item};
    const uint64_t work = std::max(size, part.size);
    Bytes bytes = load_(storage, part);
    if (bytes.size() != part.size)
      graph_.fail_at(node, "storage \"{}\" gives {} bytes where {} were declared", storage.key, bytes.size(),
                     part.size);
    // Only what was there counts, once: what a pickle declares may not lie in the file.
    auto& seen = seen_[view.storage];
    const uint64_t fresh = std::min(part.size, storage.size() - seen);
    seen += fresh;
    budget_ = saturating_sum(budget_, saturating_product(fresh, graph_.limits.expansion));
    if (work > budget_)
      graph_.fail_at(
          node,
          "the tensors would take far more memory than the file's storages hold: one of shape {} is a view of "
          "{} elements",
          text_of_shape(view.shape), storage.count);
    budget_ -= work;
    if (contiguous(view)) return {view.type, view.shape, std::move(bytes)};
    return {view.type, view.shape, gather(bytes, item, view.shape, view.strides)};
  }

  // From the first element of a view that is not empty to behind its last one; inside the storage, as was checked.
  static uint64_t reach(const TensorView& view) {
    uint64_t last = 0;
    for (size_t d = 0; d < view.shape.size(); ++d) last += static_cast<uint64_t>((view.shape[d] - 1) * view.strides[d]);
    return last + 1;
  }

  static bool contiguous(const TensorView& view) {
    int64_t expected = 1;
    for (size_t d = view.shape.size(); d-- > 0; expected *= view.shape[d])
      if (view.shape[d] != 1 && view.strides[d] != expected) return false;
    return true;
  }

  const PickleGraph& graph_;
  const Loader& load_;
  std::vector<bool> open_;
  std::unordered_map<size_t, TensorPointer> made_;
  std::unordered_map<NodeId, Opaque> opaques_;
  std::unordered_map<const PickleNode*, bool> module_states_;
  std::unordered_map<size_t, uint64_t> seen_;  // bytes of each storage
  uint64_t budget_ = 0, values_left_ = 0, text_left_ = 0, depth_ = 0;
};

}  // namespace

Value Pickle::value(const Loader& load) const { return TreeBuilder(*graph_, load).build(graph_->root); }

Value Pickle::value() const {
  return value([&](const StorageName&, ByteRange) -> Bytes {
    graph_->fail_at(graph_->at(graph_->root), "the pickle refers to tensors stored elsewhere");
  });
}

}  // namespace hpm
