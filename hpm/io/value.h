// defines: Value, Key, List, Tuple, Dict, Opaque
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hpm/io/stored_tensor.h"

namespace hpm {

using Key = std::variant<int64_t, std::string>;
std::string text_of(const Key& key);

struct Value;
struct DictEntry;
struct List {
  std::vector<Value> items;
};
struct Tuple {
  std::vector<Value> items;
};
struct Dict {
  std::vector<DictEntry> entries;
};  ///< in the file's order, no key twice
/// An object that Python would make by importing and calling something. Nothing is imported or called here: what is
/// kept is the name, and the tensors that stand under names in the object.
struct Opaque {
  std::string name;        ///< of the class or function: "collections.Counter"
  bool is_module = false;  ///< a whole torch.nn.Module
  /// The parameters and buffers of a module under the names that state_dict() gives them, or the tensors of a mapping
  /// (collections.defaultdict, ...) under its keys; null for everything else.
  std::shared_ptr<Dict> tensors = {};
};
/// Shared where the file names the same tensor twice; never null.
using TensorPointer = std::shared_ptr<StoredTensor>;

/// What a pickle holds, as inert data: a finite tree.
struct Value {
  std::variant<std::monostate, bool, int64_t, double, std::string, Bytes, TensorPointer, List, Tuple, Dict, Opaque>
      data;

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data);
  }
  template <class T>
  T* as() {
    return std::get_if<T>(&data);
  }
  /// The items of a list or tuple; null for others.
  const std::vector<Value>* items() const;
  /// The value under a text key of a dict; null when this is no dict or has no such key.
  const Value* find(std::string_view key) const;
  /// "dict of 3", "tensor float32 [2, 3]", "text", ...
  std::string description() const;
  /// A none, bool, number or text as Python's str() would put it; empty for the others.
  std::string scalar_text() const;
};

struct DictEntry {
  Key key;
  Value value;
};

}  // namespace hpm
