// Storages and tensors: what PyTorch's persistent ids and the functions of torch/_utils.py name.
#include <algorithm>
#include <array>

#include "hpm/io/pickle_impl.h"

namespace hpm {
namespace {

struct StorageRow {
  std::string_view name;
  ScalarType type;
};
constexpr std::array<StorageRow, 11> storage_types{{{"BoolStorage", ScalarType::boolean},
                                                    {"ByteStorage", ScalarType::uint8},
                                                    {"UntypedStorage", ScalarType::uint8},
                                                    {"CharStorage", ScalarType::int8},
                                                    {"ShortStorage", ScalarType::int16},
                                                    {"IntStorage", ScalarType::int32},
                                                    {"LongStorage", ScalarType::int64},
                                                    {"HalfStorage", ScalarType::float16},
                                                    {"BFloat16Storage", ScalarType::bfloat16},
                                                    {"FloatStorage", ScalarType::float32},
                                                    {"DoubleStorage", ScalarType::float64}}};

// Storages whose tensors are not read, and the bytes of their elements: in older files others lie behind them.
struct SizeRow {
  std::string_view name;
  uint64_t size;
};
constexpr std::array<SizeRow, 5> sizes_alone{{{"ComplexFloatStorage", 8},
                                              {"ComplexDoubleStorage", 16},
                                              {"QInt8Storage", 1},
                                              {"QUInt8Storage", 1},
                                              {"QInt32Storage", 4}}};

/// The row of a table whose name stands behind one of torch's modules; null where none does.
template <class Table>
auto find_storage(const Table& table, std::string_view global) -> decltype(table.data()) {
  for (const std::string_view module : {"torch.storage.", "torch.cuda.", "torch."})
    if (global.starts_with(module))
      for (const auto& row : table)
        if (global.substr(module.size()) == row.name) return &row;
  return nullptr;
}

// Messages show names from the file; a hostile one must not flood them.
std::string shown(const std::string& name) { return name.substr(0, 200); }

/// "torch.uint16" -> uint16. The names that PyTorch has beside these ("half") do not occur: dtypes are pickled by their
/// first names.
std::optional<ScalarType> dtype_of(std::string_view name) {
  if (!name.starts_with("torch.")) return std::nullopt;
  name.remove_prefix(6);
  return name == "bool" ? ScalarType::boolean : name == "boolean" ? std::nullopt : scalar_type_of(name);
}

/// A view of shape and strides (elements of `type`) on a storage, checked to lie inside it.
NodeId add_tensor(PickleGraph& graph, const ByteReader& in, const StorageView& view, ScalarType type,
                  const PickleArguments& given) {
  const uint64_t item = item_size(type), own = item_size(view.type);
  TensorView tensor{view.storage, type, given.natural(1), given.naturals(2), given.naturals(3)};
  const auto shape = text_of_shape(tensor.shape);
  if (tensor.shape.size() > 64) in.fail("a tensor of {} dimensions; at most 64 are read", tensor.shape.size());
  if (tensor.strides.size() != tensor.shape.size())
    in.fail("a tensor of shape {} has {} strides", shape, tensor.strides.size());
  const uint64_t count = count_of(tensor.shape);
  // Beyond any file and memory; below it, sizes in bytes cannot overflow.
  if (count > uint64_t{1} << 58) in.fail("a tensor of shape {} is too large", shape);
  uint64_t last = tensor.offset;
  for (size_t d = 0; d < tensor.shape.size() && count > 0; ++d)
    last = saturating_sum(
        last, saturating_product(static_cast<uint64_t>(tensor.shape[d] - 1), static_cast<uint64_t>(tensor.strides[d])));
  const uint64_t elements = view.count * own / item;
  if (count > 0 && last >= elements)
    in.fail("a tensor of shape {} and strides {} at {} reaches element {} of a storage of {}", shape,
            text_of_shape(tensor.strides), tensor.offset, last, elements);
  if (view.offset * own % item != 0) in.fail("a tensor that begins in the middle of an element");
  tensor.offset = count > 0 ? tensor.offset + view.offset * own / item : 0;
  graph.tensors.push_back(std::move(tensor));
  return graph.add(in, {.kind = NodeKind::tensor, .integer = static_cast<int64_t>(graph.tensors.size() - 1)});
}

bool is_opaque(const PickleNode& node) { return node.kind == NodeKind::opaque || node.kind == NodeKind::foreign; }

// The class of a model: only its name is of use.
NodeId make_module_class(PickleGraph& graph, const ByteReader& in, const PickleArguments& given) {
  if (graph.at(given.id(1)).kind != NodeKind::foreign)
    in.fail("the file holds a \"module\" with program code in it, but not the class that the code is of");
  return given.id(1);
}

}  // namespace

std::optional<ScalarType> storage_type_of(std::string_view global) {
  const auto* row = find_storage(storage_types, global);
  return row ? std::optional(row->type) : std::nullopt;
}

std::optional<NodeId> make_tensor(PickleGraph& graph, const ByteReader& in, const std::string& function,
                                  NodeId arguments) {
  const PickleArguments given(graph, in, arguments, function);
  // _rebuild_parameter(tensor, requires_grad, hooks), _rebuild_parameter_with_state(..., state), Parameter(tensor, ...)
  if (function == "torch._utils._rebuild_parameter" || function == "torch._utils._rebuild_parameter_with_state" ||
      function == "torch.nn.parameter.Parameter") {
    if (is_opaque(graph.at(given.id(0)))) return given.id(0);
    given.of(0, NodeKind::tensor);
    return given.id(0);
  }
  const bool typed = function == "torch._utils._rebuild_tensor" || function == "torch._utils._rebuild_tensor_v2";
  if (!typed && function != "torch._utils._rebuild_tensor_v3") return std::nullopt;
  if (const auto& storage = graph.at(given.id(0)); storage.kind == NodeKind::opaque)
    return make_opaque(graph, in, "a tensor in a " + storage.text);
  const auto view = graph.views[static_cast<size_t>(given.of(0, NodeKind::storage).integer)];
  if (typed) return add_tensor(graph, in, view, view.type, given);  // (storage, offset, shape, strides, ...)
  // _rebuild_tensor_v3(storage, offset, shape, strides, requires_grad, hooks, dtype, ...): of types without a storage
  const auto& dtype = graph.at(given.id(6));
  const auto type = dtype.kind == NodeKind::text ? dtype_of(dtype.text) : std::nullopt;
  if (!type) return make_opaque(graph, in, "a tensor of " + (is_opaque(dtype) ? dtype.text : shown(dtype.text)));
  return add_tensor(graph, in, view, *type, given);
}

NodeId make_persistent(PickleGraph& graph, const ByteReader& in, NodeId id) {
  const PickleArguments given(graph, in, id, "a persistent id");
  const auto& kind = given.of(0, NodeKind::text).text;
  if (kind == "module") return make_module_class(graph, in, given);
  if (kind != "storage") in.fail("the file refers to a \"{}\", which is no storage", shown(kind));
  const auto& global = graph.at(given.id(1));
  if (global.kind != NodeKind::global && global.kind != NodeKind::foreign)
    in.fail("argument 2 of a persistent id has a wrong type");
  const auto type = storage_type_of(global.text);
  const auto* other = find_storage(sizes_alone, global.text);
  const auto& key = graph.at(given.id(2));
  const bool number = key.kind == NodeKind::integer;
  if (!number && key.kind != NodeKind::text) in.fail("the key of a storage is neither text nor number");
  StorageName name{number ? std::to_string(key.integer) : key.text, global.text,
                   type    ? item_size(*type)
                   : other ? other->size
                           : 0,
                   given.natural(4)};
  if (name.count > uint64_t{1} << 58) in.fail("a storage of {} elements is too large", name.count);

  const auto [found, added] = graph.storage_by_key.emplace(name.key, graph.storages.size());
  if (added) graph.storages.push_back(name);
  const auto& first = graph.storages[found->second];
  if (first.type != name.type || first.count != name.count)
    in.fail("storage \"{}\" is named with {} {} and with {} {}", shown(name.key), first.count, shown(first.type),
            name.count, shown(name.type));
  if (!type) return make_opaque(graph, in, name.type);

  StorageView view{found->second, 0, name.count, *type};
  if (given.size() > 5 && graph.at(given.id(5)).kind != NodeKind::none) {  // (key of the view, offset, count)
    const PickleArguments part(graph, in, given.id(5), "a view of a storage");
    view.offset = part.natural(1);
    view.count = part.natural(2);
    if (view.offset > name.count || view.count > name.count - view.offset)
      in.fail("a view of elements {} to {} of a storage of {}", view.offset, saturating_sum(view.offset, view.count),
              name.count);
  }
  graph.views.push_back(view);
  return graph.add(in, {.kind = NodeKind::storage, .integer = static_cast<int64_t>(graph.views.size() - 1)});
}

}  // namespace hpm
