// From the graph of a pickle to a tree of values: finite, of bounded depth and size, with its tensors filled.
#include <algorithm>
#include <unordered_map>

#include "hpm/io/pickle.h"
#include "hpm/io/pickle_impl.h"
#include "hpm/core/text.h"

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
    if (values_left_ == 0 || node.text.size() > text_left_)
      graph_.fail_at(node, "written out, the pickle's {} objects and {} bytes of text become many times as many",
                     graph_.nodes.size(), graph_.text_used);
    --values_left_;
    text_left_ -= node.text.size();
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
    const uint64_t item = item_size(storage.type), size = count_of(view.shape) * item;
    if (size == 0) return {storage.type, view.shape, {}};
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
    if (contiguous(view)) return {storage.type, view.shape, std::move(bytes)};
    return {storage.type, view.shape, gather(bytes, item, view.shape, view.strides)};
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
