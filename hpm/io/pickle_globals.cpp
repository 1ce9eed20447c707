// The globals that tensors, plain containers and numpy scalars need; nothing is ever imported or called.
#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string_view>

#include "hpm/io/pickle_impl.h"
#include "hpm/core/text.h"

namespace hpm {
namespace {

constexpr std::array<std::string_view, 14> callables{"torch._utils._rebuild_tensor",
                                                     "torch._utils._rebuild_tensor_v2",
                                                     "torch._utils._rebuild_parameter",
                                                     "collections.OrderedDict",
                                                     "torch.Size",
                                                     "torch.device",
                                                     "numpy.core.multiarray.scalar",
                                                     "numpy._core.multiarray.scalar",
                                                     "numpy.core.multiarray._reconstruct",
                                                     "numpy._core.multiarray._reconstruct",
                                                     "numpy.ndarray",
                                                     "numpy.dtype",
                                                     "_codecs.encode",
                                                     "torch.storage.TypedStorage"};

constexpr std::array<std::string_view, 19> torch_types{
    "float16", "bfloat16", "float32", "float64", "half", "float", "double",    "uint8",      "int8",  "int16",
    "short",   "int32",    "int",     "int64",   "long", "bool",  "complex64", "complex128", "quint8"};

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

std::optional<ScalarType> storage_type_of(std::string_view global) {
  for (const std::string_view module : {"torch.storage.", "torch.cuda.", "torch."})
    if (global.starts_with(module))
      for (const auto& row : storage_types)
        if (global.substr(module.size()) == row.name) return row.type;
  return std::nullopt;
}

template <class List>
bool holds(const List& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

// Messages show names from the file; a hostile one must not flood them.
std::string shown(const std::string& name) { return name.substr(0, 200); }

class Arguments {
 public:
  Arguments(const PickleGraph& graph, const ByteReader& in, NodeId tuple, std::string_view function)
      : graph_(graph), in_(in), function_(function), items_(graph.at(tuple).items) {
    if (graph.at(tuple).kind != NodeKind::tuple) in.fail("{} is called without a list of arguments", function);
  }
  size_t size() const { return items_.size(); }
  NodeId id(size_t i) const {
    if (i >= items_.size()) in_.fail("{} needs argument {} but {} came", function_, i + 1, items_.size());
    return items_[i];
  }
  const PickleNode& of(size_t i, NodeKind kind) const {
    const auto& node = graph_.at(id(i));
    if (node.kind != kind) in_.fail("argument {} of {} has a wrong type", i + 1, function_);
    return node;
  }
  uint64_t natural(size_t i) const {
    const int64_t value = of(i, NodeKind::integer).integer;
    if (value < 0) in_.fail("argument {} of {} is {}", i + 1, function_, value);
    return static_cast<uint64_t>(value);
  }
  std::vector<int64_t> naturals(size_t i) const {
    std::vector<int64_t> out;
    for (const NodeId item : of(i, NodeKind::tuple).items) {
      const auto& node = graph_.at(item);
      if (node.kind != NodeKind::integer || node.integer < 0)
        in_.fail("argument {} of {} must hold integers of at least 0", i + 1, function_);
      out.push_back(node.integer);
    }
    return out;
  }

 private:
  const PickleGraph& graph_;
  const ByteReader& in_;
  std::string_view function_;
  std::vector<NodeId> items_;
};

// _rebuild_tensor(storage, offset, shape, strides) and _rebuild_tensor_v2(..., requires_grad, hooks)
NodeId make_tensor(PickleGraph& graph, const ByteReader& in, const Arguments& given) {
  const auto& view = graph.views[static_cast<size_t>(given.of(0, NodeKind::storage).integer)];
  TensorView tensor{view.storage, given.natural(1), given.naturals(2), given.naturals(3)};
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
  if (count > 0 && last >= view.count)
    in.fail("a tensor of shape {} and strides {} at {} reaches element {} of a storage of {}", shape,
            text_of_shape(tensor.strides), tensor.offset, last, view.count);
  tensor.offset = count > 0 ? tensor.offset + view.offset : 0;
  graph.tensors.push_back(std::move(tensor));
  return graph.add(in, {.kind = NodeKind::tensor, .integer = static_cast<int64_t>(graph.tensors.size() - 1)});
}

// OrderedDict() or, from Python 2, OrderedDict([[key, value], ...])
NodeId make_ordered_dict(PickleGraph& graph, const ByteReader& in, const Arguments& given) {
  PickleNode dict{.kind = NodeKind::dict};
  if (given.size() > 0) {
    for (const NodeId id : given.of(0, NodeKind::list).items) {
      const auto& pair = graph.at(id);
      if ((pair.kind != NodeKind::list && pair.kind != NodeKind::tuple) || pair.items.size() != 2)
        in.fail("an OrderedDict is made from something that is no pair");
      dict.items.insert(dict.items.end(), pair.items.begin(), pair.items.end());
    }
  }
  return graph.add(in, std::move(dict));
}

template <class T>
T read_as(const std::string& bytes) {
  T out;
  std::memcpy(&out, bytes.data(), sizeof(T));
  return out;
}

float half_value(uint16_t bits) {
  const uint32_t exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
  const float sign = bits & 0x8000u ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? std::bit_cast<float>(0x7FC00000u) : sign * std::bit_cast<float>(0x7F800000u);
  if (exponent == 0) return sign * static_cast<float>(fraction) * 0x1p-24f;
  return sign * std::bit_cast<float>(((exponent + 112) << 23) | (fraction << 13));
}

// scalar(dtype, bytes)
NodeId make_numpy_scalar(PickleGraph& graph, const ByteReader& in, const Arguments& given) {
  const std::string& type = given.of(0, NodeKind::numpy_type).text;
  const std::string& data = given.of(1, NodeKind::bytes).text;
  const char kind = type.front();
  const size_t size = static_cast<size_t>(type.back() - '0');
  if (data.size() != size) in.fail("a numpy {} of {} bytes", type, data.size());
  if (kind == 'b') return graph.add(in, {.kind = NodeKind::boolean, .integer = data[0] != 0});
  if (kind == 'f') {
    const double value = size == 8   ? read_as<double>(data)
                         : size == 4 ? read_as<float>(data)
                                     : half_value(read_as<uint16_t>(data));
    return graph.add(in, {.kind = NodeKind::real, .real = value});
  }
  const bool negative = kind == 'i' && (data.back() & 0x80);
  uint64_t value = negative ? ~uint64_t{0} : 0;
  std::memcpy(&value, data.data(), size);
  if (kind == 'u' && value >> 63) return graph.add(in, {.kind = NodeKind::text, .text = std::to_string(value)});
  return graph.add(in, {.kind = NodeKind::integer, .integer = static_cast<int64_t>(value)});
}

// dtype("f8", align, copy)
NodeId make_numpy_type(PickleGraph& graph, const ByteReader& in, const Arguments& given) {
  constexpr std::array<std::string_view, 12> known{"b1", "i1", "i2", "i4", "i8", "u1",
                                                   "u2", "u4", "u8", "f2", "f4", "f8"};
  const std::string& type = given.of(0, NodeKind::text).text;
  if (!holds(known, type)) in.fail("a numpy value of type \"{}\"; numbers can be read", shown(type));
  return graph.add(in, {.kind = NodeKind::numpy_type, .text = type});
}

// encode(text, "latin1"), as Python 3 writes bytes for Python 2
NodeId make_latin1(PickleGraph& graph, const ByteReader& in, const Arguments& given) {
  const std::string& text = given.of(0, NodeKind::text).text;
  if (const auto& coding = given.of(1, NodeKind::text).text; coding != "latin1" && coding != "latin-1")
    in.fail("bytes in the coding \"{}\"; latin1 can be read", shown(coding));
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0xC4) in.fail("a text that is not latin1");
    if (c < 0x80) bytes += text[i];
    else bytes += static_cast<char>((c & 3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3F));
  }
  return graph.add(in, {.kind = NodeKind::bytes, .text = std::move(bytes)});
}

[[noreturn]] void refuse(const ByteReader& in, const std::string& global) {
  in.fail(
      "the file wants to call {}; hpm never runs code from a file. If it holds a whole model object, load it where it "
      "came from and save model.state_dict() instead",
      shown(global));
}

}  // namespace

NodeId make_global(PickleGraph& graph, const ByteReader& in, const std::string& module, const std::string& name) {
  const std::string global = module + "." + name;
  if (!is_utf8(global)) in.fail("a global whose name is not UTF-8");
  if (module == "torch" && holds(torch_types, name)) return graph.add(in, {.kind = NodeKind::text, .text = global});
  if (holds(callables, global) || storage_type_of(global))
    return graph.add(in, {.kind = NodeKind::global, .text = global});
  if (module.starts_with("torch") && name.ends_with("Storage"))
    in.fail("the file holds a {}; this element type cannot be read", shown(global));
  refuse(in, global);
}

NodeId call_global(PickleGraph& graph, const ByteReader& in, NodeId function, NodeId arguments) {
  if (graph.at(function).kind != NodeKind::global) in.fail("the pickle calls something that is no function");
  const std::string name = graph.at(function).text;
  const Arguments given(graph, in, arguments, name);
  if (name == "torch._utils._rebuild_tensor_v2" || name == "torch._utils._rebuild_tensor")
    return make_tensor(graph, in, given);
  if (name == "torch._utils._rebuild_parameter") {
    given.of(0, NodeKind::tensor);
    return given.id(0);
  }
  if (name == "collections.OrderedDict") return make_ordered_dict(graph, in, given);
  if (name == "torch.Size") {
    given.of(0, NodeKind::tuple);
    return given.id(0);
  }
  if (name == "torch.device") {
    std::string device = given.of(0, NodeKind::text).text;
    if (given.size() > 1) device += fmt::format(":{}", given.natural(1));
    return graph.add(in, {.kind = NodeKind::text, .text = std::move(device)});
  }
  if (name.ends_with("multiarray.scalar")) return make_numpy_scalar(graph, in, given);
  if (name.ends_with("multiarray._reconstruct")) return graph.add(in, {.kind = NodeKind::array});
  if (name == "numpy.dtype") return make_numpy_type(graph, in, given);
  if (name == "_codecs.encode") return make_latin1(graph, in, given);
  refuse(in, name);
}

void set_state(PickleGraph& graph, const ByteReader& in, NodeId object, NodeId state) {
  const auto& target = graph.at(object);
  const auto& value = graph.at(state);
  if (target.kind == NodeKind::numpy_type) {
    // (version, byte order, ...)
    const bool known =
        value.kind == NodeKind::tuple && value.items.size() >= 2 && graph.at(value.items[1]).kind == NodeKind::text;
    if (!known) in.fail("a numpy type with a state that is not understood");
    if (graph.at(value.items[1]).text == ">") in.fail("a big-endian numpy value cannot be read");
    return;
  }
  if (target.kind == NodeKind::array) return set_array_state(graph, in, object, state);
  if (target.kind != NodeKind::dict && target.kind != NodeKind::tensor)
    in.fail("the pickle sets attributes of something that has none");
  if (value.kind != NodeKind::dict && value.kind != NodeKind::tuple && value.kind != NodeKind::none)
    in.fail("the pickle sets attributes from something that is no dict");
}

NodeId make_storage(PickleGraph& graph, const ByteReader& in, NodeId id) {
  const Arguments given(graph, in, id, "a persistent id");
  if (const auto& kind = given.of(0, NodeKind::text).text; kind != "storage")
    in.fail(
        "the file holds a \"{}\" with program code in it. Load it where it came from and save model.state_dict() "
        "instead",
        shown(kind));
  const auto& global = given.of(1, NodeKind::global).text;
  const auto type = storage_type_of(global);
  if (!type) in.fail("{} is no storage with an element type", shown(global));
  const auto& key = graph.at(given.id(2));
  const bool number = key.kind == NodeKind::integer;
  if (!number && key.kind != NodeKind::text) in.fail("the key of a storage is neither text nor number");
  StorageName name{number ? std::to_string(key.integer) : key.text, *type, given.natural(4)};
  if (name.count > uint64_t{1} << 58) in.fail("a storage of {} elements is too large", name.count);

  const auto [found, added] = graph.storage_by_key.emplace(name.key, graph.storages.size());
  if (added) graph.storages.push_back(name);
  const auto& first = graph.storages[found->second];
  if (first.type != name.type || first.count != name.count)
    in.fail("storage \"{}\" is named with {} {} and with {} {}", shown(name.key), first.count, name_of(first.type),
            name.count, name_of(name.type));

  StorageView view{found->second, 0, name.count};
  if (given.size() > 5 && graph.at(given.id(5)).kind != NodeKind::none) {  // (key of the view, offset, count)
    const Arguments part(graph, in, given.id(5), "a view of a storage");
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
