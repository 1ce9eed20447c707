// From the graph of a pickle to a tree of values: finite, of bounded depth and size, with its tensors filled.
#include <algorithm>
#include <unordered_map>

#include "hpm/io/pickle.h"
#include "hpm/io/pickle_impl.h"
#include "hpm/io/text.h"

namespace hpm {
namespace {

using Loader = std::function<Bytes(const StorageName&)>;

class TreeBuilder {
 public:
  TreeBuilder(const PickleGraph& graph, const Loader& load)
      : graph_(graph), load_(load), open_(graph.nodes.size(), false), uses_(graph.storages.size(), 0) {
    uint64_t declared = 0;
    for (const auto& storage : graph.storages) declared = saturating_sum(declared, storage.size());
    budget_ = saturating_sum(saturating_product(declared, graph.limits.expansion), graph.limits.free_expansion);
    for (const auto& tensor : graph.tensors) ++uses_[tensor.storage];
  }

  Value build(NodeId id) {
    const auto& node = graph_.at(id);
    text_ += node.text.size();
    if (++values_ > graph_.limits.values || text_ > graph_.limits.text)
      fail("{}: written out, the pickle holds more than {} values or {} bytes of text", graph_.name,
           graph_.limits.values, graph_.limits.text);
    switch (node.kind) {
      case NodeKind::none: return {};
      case NodeKind::boolean: return {node.integer != 0};
      case NodeKind::integer: return {node.integer};
      case NodeKind::real: return {node.real};
      case NodeKind::text:
      case NodeKind::global: return {node.text};
      case NodeKind::numpy_type: return {"numpy." + node.text};
      case NodeKind::bytes: return {Bytes(std::as_bytes(std::span(node.text)))};
      case NodeKind::storage: return {"storage " + storage_key(node)};
      case NodeKind::tensor: return {tensor(static_cast<size_t>(node.integer))};
      case NodeKind::array: return {array(node)};
      default: return container(id, node);
    }
  }

 private:
  const std::string& storage_key(const PickleNode& node) const {
    return graph_.storages[graph_.views[static_cast<size_t>(node.integer)].storage].key;
  }

  Value container(NodeId id, const PickleNode& node) {
    if (open_[id]) fail("{}: an object of the pickle contains itself; no state_dict does", graph_.name);
    if (depth_ >= graph_.limits.depth)
      fail("{}: the pickle is nested deeper than {}", graph_.name, graph_.limits.depth);
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

  TensorPointer tensor(size_t index) {
    auto& made = made_[index];
    if (!made) made = std::make_shared<StoredTensor>(fill(graph_.tensors[index]));
    return made;
  }

  TensorPointer array(const PickleNode& node) {
    auto out = std::make_shared<StoredTensor>(stored_array(graph_, node));
    text_ += out->data.size();  // its bytes were text of the pickle; named many times, they must not fill the memory
    return out;
  }

  StoredTensor fill(const TensorView& view) {
    const auto& storage = graph_.storages[view.storage];
    const uint64_t item = item_size(storage.type), size = count_of(view.shape) * item;
    if (size > budget_)
      fail(
          "{}: its tensors would take far more memory than the file's storages hold: a tensor of shape {} is a view of "
          "{} elements",
          graph_.name, text_of_shape(view.shape), storage.count);
    budget_ -= size;
    auto held = loaded_.find(view.storage);
    if (held == loaded_.end()) held = loaded_.emplace(view.storage, load_(storage)).first;
    Bytes& bytes = held->second;
    if (bytes.size() != storage.size())
      fail("{}: storage \"{}\" has {} bytes where {} were declared", graph_.name, storage.key, bytes.size(),
           storage.size());

    const bool last = --uses_[view.storage] == 0;
    StoredTensor out{storage.type, view.shape, {}};
    if (last && size > 0 && size == bytes.size() && contiguous(view)) out.data = std::move(bytes);
    else if (size > 0) out.data = gather(std::span(bytes).subspan(view.offset * item), item, view.shape, view.strides);
    if (last) loaded_.erase(held);
    return out;
  }

  static bool contiguous(const TensorView& view) {
    int64_t expected = 1;
    for (size_t d = view.shape.size(); d-- > 0; expected *= view.shape[d])
      if (view.shape[d] != 1 && view.strides[d] != expected) return false;
    return view.offset == 0;
  }

  const PickleGraph& graph_;
  const Loader& load_;
  std::vector<bool> open_;
  std::vector<uint64_t> uses_;
  std::unordered_map<size_t, Bytes> loaded_;
  std::unordered_map<size_t, TensorPointer> made_;
  uint64_t budget_ = 0, values_ = 0, text_ = 0, depth_ = 0;
};

}  // namespace

Value Pickle::value(const Loader& load) const { return TreeBuilder(*graph_, load).build(graph_->root); }

Value Pickle::value() const {
  return value(
      [&](const StorageName&) -> Bytes { fail("{}: the pickle refers to tensors stored elsewhere", graph_->name); });
}

}  // namespace hpm
