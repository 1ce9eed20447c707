// What the parts of the unpickler share: the graph of objects that a pickle builds.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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
  global,   ///< a function or class that hpm knows
  foreign,  ///< any other
  opaque,   ///< what Python would make by calling one of these
  numpy_type,
  array,
  storage,
  tensor
};
using NodeId = uint32_t;

/// One object. Objects refer to each other by number, so that cycles and deep nesting cost nothing to build or free.
struct PickleNode {
  NodeKind kind = NodeKind::none;
  /// boolean, integer; storage, tensor: index into the graph's lists; array: in Fortran order; opaque: its state, the
  /// number of a node, or kNoState
  int64_t integer = 0;
  double real = 0;
  std::string text = {};  ///< text, bytes; global, foreign, opaque: "module.name"; numpy_type: e.g. "f8"
  /// list, tuple; dict: key, value, key, value, ...; array: type, shape, data; opaque: as of a dict, what was set by
  /// keys
  std::vector<NodeId> items = {};
  uint64_t offset = 0;  ///< in the file, behind what made it
};

inline constexpr int64_t kNoState = -1;

/// A part of a storage, in its elements.
struct StorageView {
  size_t storage;
  uint64_t offset, count;
  ScalarType type;
};

struct TensorView {
  size_t storage;
  ScalarType type;
  uint64_t offset;  ///< of the first element in the storage, in elements of `type`
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

/// A class or function as a node. Nothing is imported.
NodeId make_global(PickleGraph& graph, const ByteReader& in, const std::string& module, const std::string& name);
/// What calling it would give: for a known one its result, for any other an opaque object. Nothing is called.
NodeId call_global(PickleGraph& graph, const ByteReader& in, NodeId function, NodeId arguments);
/// Gives an object its state; attributes of dicts and tensors are dropped, they hold no weights.
void set_state(PickleGraph& graph, const ByteReader& in, NodeId object, NodeId state);
/// An object of which the name alone is known.
NodeId make_opaque(PickleGraph& graph, const ByteReader& in, std::string name);
/// Gives a numpy array its state (version, shape, type, in Fortran order, bytes); throws Error where they disagree. An
/// array of elements that are no numbers becomes opaque.
void set_array_state(PickleGraph& graph, const ByteReader& in, NodeId array, NodeId state);
/// _frombuffer(data, type, shape, order), as protocol 5 writes arrays.
NodeId make_array(PickleGraph& graph, const ByteReader& in, NodeId arguments);
/// The elements of a numpy array in C order; throws Error for one that was given no state.
StoredTensor stored_array(const PickleGraph& graph, const PickleNode& array);
/// What a persistent id of PyTorch names: ("storage", type, key, location, count[, view]), or ("module", class, file,
/// source), the class of a model with its source, which is not looked at.
NodeId make_persistent(PickleGraph& graph, const ByteReader& in, NodeId id);
/// What a function of torch._utils makes from a storage; none where `function` is no such.
std::optional<NodeId> make_tensor(PickleGraph& graph, const ByteReader& in, const std::string& function,
                                  NodeId arguments);
/// The type of the elements of a storage class; none for classes that hpm does not know.
std::optional<ScalarType> storage_type_of(std::string_view global);

/// The text of an UNICODE or STRING line of protocol 0, its escapes resolved; none where they cannot be.
std::optional<std::string> unescaped_unicode(std::string_view line);
std::optional<std::string> unescaped_string(std::string_view line);
/// Python writes lone surrogates (of names that are not UTF-8) as three bytes: they become "\udce8".
std::string with_surrogates_escaped(std::string text);

/// The arguments of a call, each of the type that it must have. They must not change meanwhile.
class PickleArguments {
 public:
  PickleArguments(const PickleGraph& graph, const ByteReader& in, NodeId tuple, std::string_view function);
  size_t size() const { return items_.size(); }
  NodeId id(size_t i) const;
  const PickleNode& of(size_t i, NodeKind kind) const;
  uint64_t natural(size_t i) const;
  std::vector<int64_t> naturals(size_t i) const;
  bool any_opaque() const;  ///< among the first ten, more than any known function takes: the result is opaque, too

 private:
  const PickleGraph& graph_;
  const ByteReader& in_;
  std::string_view function_;
  std::span<const NodeId> items_;
};

}  // namespace hpm
