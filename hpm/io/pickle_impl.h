// What the parts of the unpickler share: the graph of objects that a pickle builds.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/pickle.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

enum class NodeKind : uint8_t {
  none,
  boolean,
  integer,
  real,
  text,
  bytes,
  list,
  tuple,
  dict,
  global,
  numpy_type,
  array,
  storage,
  tensor
};
using NodeId = uint32_t;

/// One object. Objects refer to each other by number, so that cycles and deep nesting cost nothing to build or free.
struct PickleNode {
  NodeKind kind = NodeKind::none;
  int64_t integer = 0;  ///< boolean, integer; storage, tensor: index into the graph's lists; array: in Fortran order
  double real = 0;
  std::string text = {};           ///< text, bytes; global: "module.name"; numpy_type: e.g. "f8"
  std::vector<NodeId> items = {};  ///< list, tuple; dict: key, value, key, value, ...; array: type, shape, data
  uint64_t offset = 0;             ///< in the file, behind what made it
};

/// A part of a storage, in elements.
struct StorageView {
  size_t storage;
  uint64_t offset, count;
};

struct TensorView {
  size_t storage;
  uint64_t offset;  ///< of the first element in the storage
  std::vector<int64_t> shape, strides;
};

struct PickleGraph {
  std::string name;  ///< of the file, for messages
  PickleLimits limits;
  std::vector<PickleNode> nodes;
  std::vector<StorageName> storages;
  std::unordered_map<std::string, size_t> storage_by_key;
  std::vector<StorageView> views;
  std::vector<TensorView> tensors;
  NodeId root = 0;
  uint64_t text_used = 0, links_used = 0;

  NodeId add(const ByteReader& in, PickleNode node);
  void count_links(const ByteReader& in, uint64_t count);
  PickleNode& at(NodeId id) { return nodes[id]; }
  const PickleNode& at(NodeId id) const { return nodes[id]; }
  /// Throws Error that names the file and where it made the object.
  template <class... A>
  [[noreturn]] void fail_at(const PickleNode& node, fmt::format_string<A...> format, A&&... arguments) const {
    fail("{}: {} (at byte {})", name, printable(fmt::format(format, std::forward<A>(arguments)...)), node.offset);
  }
};

/// An allowed global as a node; throws Error for any other.
NodeId make_global(PickleGraph& graph, const ByteReader& in, const std::string& module, const std::string& name);
/// The result of calling an allowed global.
NodeId call_global(PickleGraph& graph, const ByteReader& in, NodeId function, NodeId arguments);
/// Gives an object its state; attributes of dicts and tensors are dropped, they hold no weights.
void set_state(PickleGraph& graph, const ByteReader& in, NodeId object, NodeId state);
/// Gives a numpy array its state (version, shape, type, in Fortran order, bytes); throws Error where they disagree.
void set_array_state(PickleGraph& graph, const ByteReader& in, NodeId array, NodeId state);
/// The elements of a numpy array in C order; throws Error for one that was given no state.
StoredTensor stored_array(const PickleGraph& graph, const PickleNode& array);
/// The storage that a persistent id ("storage", type, key, location, count[, view]) names.
NodeId make_storage(PickleGraph& graph, const ByteReader& in, NodeId id);

}  // namespace hpm
