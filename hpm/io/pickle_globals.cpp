// The globals that tensors, plain containers and numpy scalars need; nothing is ever imported or called.
#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string_view>

#include "hpm/core/text.h"
#include "hpm/io/pickle_impl.h"

namespace hpm {
namespace {

constexpr std::array<std::string_view, 27> callables{"torch._utils._rebuild_tensor",
                                                     "torch._utils._rebuild_tensor_v2",
                                                     "torch._utils._rebuild_tensor_v3",
                                                     "torch._utils._rebuild_parameter",
                                                     "torch._utils._rebuild_parameter_with_state",
                                                     "torch._tensor._rebuild_from_type_v2",
                                                     "torch.nn.parameter.Parameter",
                                                     "collections.OrderedDict",
                                                     "builtins.set",
                                                     "builtins.frozenset",
                                                     "__builtin__.set",
                                                     "__builtin__.frozenset",
                                                     "builtins.bytearray",
                                                     "__builtin__.bytearray",
                                                     "builtins.bytes",
                                                     "__builtin__.bytes",
                                                     "torch.Size",
                                                     "torch.device",
                                                     "numpy.core.multiarray.scalar",
                                                     "numpy._core.multiarray.scalar",
                                                     "numpy.core.multiarray._reconstruct",
                                                     "numpy._core.multiarray._reconstruct",
                                                     "numpy.core.numeric._frombuffer",
                                                     "numpy._core.numeric._frombuffer",
                                                     "numpy.ndarray",
                                                     "numpy.dtype",
                                                     "_codecs.encode"};

// Functions that make an object of the class that they are given: the class tells more than they do.
constexpr std::array<std::string_view, 6> makers{"copyreg._reconstructor", "copy_reg._reconstructor",
                                                 "copyreg.__newobj__",     "copy_reg.__newobj__",
                                                 "copyreg.__newobj_ex__",  "copy_reg.__newobj_ex__"};

constexpr std::array<std::string_view, 22> torch_types{
    "float16",   "bfloat16",   "float32", "float64", "half",   "float", "double", "uint8",
    "int8",      "int16",      "short",   "int32",   "int",    "int64", "long",   "bool",
    "complex64", "complex128", "quint8",  "uint16",  "uint32", "uint64"};

template <class List>
bool holds(const List& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

// Messages show names from the file; a hostile one must not flood them.
std::string shown(const std::string& name) { return name.substr(0, 200); }

// OrderedDict() or, from Python 2, OrderedDict([[key, value], ...])
NodeId make_ordered_dict(PickleGraph& graph, const ByteReader& in, const PickleArguments& given) {
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
NodeId make_numpy_scalar(PickleGraph& graph, const ByteReader& in, const PickleArguments& given) {
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
NodeId make_numpy_type(PickleGraph& graph, const ByteReader& in, const PickleArguments& given) {
  constexpr std::array<std::string_view, 12> known{"b1", "i1", "i2", "i4", "i8", "u1",
                                                   "u2", "u4", "u8", "f2", "f4", "f8"};
  const std::string& type = given.of(0, NodeKind::text).text;
  if (!holds(known, type)) return make_opaque(graph, in, fmt::format("numpy.dtype \"{}\"", shown(type)));
  return graph.add(in, {.kind = NodeKind::numpy_type, .text = type});
}

// encode(text, "latin1"), as Python 3 writes bytes for Python 2
NodeId make_latin1(PickleGraph& graph, const ByteReader& in, const PickleArguments& given) {
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

// set([...]), frozenset([...]): as a list. bytearray(bytes), bytearray(text, "latin-1"), and of Python 2 bytes()
std::optional<NodeId> make_builtin(PickleGraph& graph, const ByteReader& in, std::string_view name,
                                   const PickleArguments& given) {
  if (name == "set" || name == "frozenset") {
    if (given.size() == 0) return graph.add(in, {.kind = NodeKind::list});
    const auto items = given.of(0, NodeKind::list).items;
    return graph.add(in, {.kind = NodeKind::list, .items = items});
  }
  if (name != "bytearray" && name != "bytes") return std::nullopt;
  if (given.size() == 0) return graph.add(in, {.kind = NodeKind::bytes});
  if (given.size() > 1) return make_latin1(graph, in, given);
  given.of(0, NodeKind::bytes);
  return given.id(0);
}

}  // namespace

PickleArguments::PickleArguments(const PickleGraph& graph, const ByteReader& in, NodeId tuple,
                                 std::string_view function)
    : graph_(graph), in_(in), function_(function), items_(graph.at(tuple).items) {
  if (graph.at(tuple).kind != NodeKind::tuple) in.fail("{} is called without a list of arguments", function);
}

NodeId PickleArguments::id(size_t i) const {
  if (i >= items_.size()) in_.fail("{} needs argument {} but {} came", function_, i + 1, items_.size());
  return items_[i];
}

const PickleNode& PickleArguments::of(size_t i, NodeKind kind) const {
  const auto& node = graph_.at(id(i));
  if (node.kind != kind) in_.fail("argument {} of {} has a wrong type", i + 1, function_);
  return node;
}

uint64_t PickleArguments::natural(size_t i) const {
  const int64_t value = of(i, NodeKind::integer).integer;
  if (value < 0) in_.fail("argument {} of {} is {}", i + 1, function_, value);
  return static_cast<uint64_t>(value);
}

std::vector<int64_t> PickleArguments::naturals(size_t i) const {
  std::vector<int64_t> out;
  for (const NodeId item : of(i, NodeKind::tuple).items) {
    const auto& node = graph_.at(item);
    if (node.kind != NodeKind::integer || node.integer < 0)
      in_.fail("argument {} of {} must hold integers of at least 0", i + 1, function_);
    out.push_back(node.integer);
  }
  return out;
}

bool PickleArguments::any_opaque() const {
  return std::ranges::any_of(items_.first(std::min<size_t>(items_.size(), 10)), [&](NodeId item) {
    return graph_.at(item).kind == NodeKind::opaque || graph_.at(item).kind == NodeKind::foreign;
  });
}

NodeId make_opaque(PickleGraph& graph, const ByteReader& in, std::string name) {
  return graph.add(in, {.kind = NodeKind::opaque, .integer = kNoState, .text = std::move(name)});
}

NodeId make_global(PickleGraph& graph, const ByteReader& in, const std::string& module, const std::string& name) {
  const std::string global = module + "." + name;
  if (!is_utf8(global)) in.fail("a global whose name is not UTF-8");
  if (module == "torch" && holds(torch_types, name)) return graph.add(in, {.kind = NodeKind::text, .text = global});
  const bool known = holds(callables, global) || storage_type_of(global);
  return graph.add(in, {.kind = known ? NodeKind::global : NodeKind::foreign, .text = global});
}

NodeId call_global(PickleGraph& graph, const ByteReader& in, NodeId function, NodeId arguments) {
  const auto kind = graph.at(function).kind;
  std::string name = graph.at(function).text;
  if (kind != NodeKind::global && kind != NodeKind::foreign && kind != NodeKind::opaque)
    in.fail("the pickle calls something that is no function");
  const PickleArguments given(graph, in, arguments, name);
  if (kind != NodeKind::global) {
    const bool made = holds(makers, name) && given.size() > 0 && graph.at(given.id(0)).kind == NodeKind::foreign;
    return make_opaque(graph, in, made ? graph.at(given.id(0)).text : std::move(name));
  }
  if (name == "torch._tensor._rebuild_from_type_v2") {  // (function, type, arguments, state)
    const bool known = graph.at(given.id(0)).kind == NodeKind::global && graph.at(given.id(0)).text != name;
    return known ? call_global(graph, in, given.id(0), given.id(2)) : make_opaque(graph, in, std::move(name));
  }
  if (const auto tensor = make_tensor(graph, in, name, arguments)) return *tensor;
  if (name.ends_with("numeric._frombuffer")) return make_array(graph, in, arguments);
  if (given.any_opaque()) return make_opaque(graph, in, std::move(name));
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
  if (const auto made = make_builtin(graph, in, name.substr(name.find('.') + 1), given)) return *made;
  return make_opaque(graph, in, std::move(name));
}

void set_state(PickleGraph& graph, const ByteReader& in, NodeId object, NodeId state) {
  auto& target = graph.at(object);
  const auto& value = graph.at(state);
  switch (target.kind) {
    case NodeKind::opaque:
      graph.count_links(in, 1);
      target.integer = state;
      return;
    case NodeKind::foreign:
    case NodeKind::global:
    case NodeKind::dict:
    case NodeKind::tensor: return;
    case NodeKind::array: return set_array_state(graph, in, object, state);
    case NodeKind::numpy_type: {  // (version, byte order, ...)
      const bool known =
          value.kind == NodeKind::tuple && value.items.size() >= 2 && graph.at(value.items[1]).kind == NodeKind::text;
      if (!known) in.fail("a numpy type with a state that is not understood");
      if (graph.at(value.items[1]).text == ">")
        target.kind = NodeKind::opaque, target.text = fmt::format("numpy.dtype \">{}\" (big-endian)", target.text),
        target.integer = kNoState;
      return;
    }
    default: in.fail("the pickle sets attributes of something that has none");
  }
}

}  // namespace hpm
