// Numpy arrays as their __reduce__ writes them (numpy/_core/src/multiarray/methods.c): _reconstruct, then a state.
#include <algorithm>
#include <array>

#include "hpm/io/pickle_impl.h"

namespace hpm {
namespace {

struct ArrayType {
  std::string_view name;
  ScalarType type;
};
constexpr std::array<ArrayType, 12> array_types{{{"b1", ScalarType::boolean},
                                                 {"u1", ScalarType::uint8},
                                                 {"i1", ScalarType::int8},
                                                 {"i2", ScalarType::int16},
                                                 {"i4", ScalarType::int32},
                                                 {"i8", ScalarType::int64},
                                                 {"u2", ScalarType::uint16},
                                                 {"u4", ScalarType::uint32},
                                                 {"u8", ScalarType::uint64},
                                                 {"f2", ScalarType::float16},
                                                 {"f4", ScalarType::float32},
                                                 {"f8", ScalarType::float64}}};

const ArrayType* find_type(const PickleNode& type) {
  const auto found = std::ranges::find(array_types, type.text, &ArrayType::name);
  return type.kind == NodeKind::numpy_type && found != array_types.end() ? found : nullptr;
}

std::vector<int64_t> shape_of(const PickleGraph& graph, const PickleNode& tuple) {
  std::vector<int64_t> shape;
  for (const NodeId size : tuple.items) shape.push_back(graph.at(size).integer);
  return shape;
}

struct Elements {
  NodeId shape, type, data;
  bool fortran;
};

/// Gives an array its elements, checked; one of elements that are no numbers becomes opaque.
void set_elements(PickleGraph& graph, const ByteReader& in, NodeId array, const Elements& given) {
  if (const auto& type = graph.at(given.type); type.kind == NodeKind::opaque || type.kind == NodeKind::foreign) {
    auto& target = graph.at(array);
    target.kind = NodeKind::opaque, target.text = "numpy.ndarray of " + type.text, target.integer = kNoState;
    return;
  }
  const auto& shape = graph.at(given.shape);
  const auto& data = graph.at(given.data);
  const bool sizes = std::ranges::all_of(
      shape.items, [&](NodeId id) { return graph.at(id).kind == NodeKind::integer && graph.at(id).integer >= 0; });
  if (shape.kind != NodeKind::tuple || shape.items.size() > 64 || !sizes) in.fail("a numpy array without a shape");
  const auto* type = find_type(graph.at(given.type));
  if (!type) in.fail("a numpy array whose elements are not numbers that can be read");
  // Python 2 writes bytes as a string, which may happen to be UTF-8.
  if (data.kind != NodeKind::bytes && data.kind != NodeKind::text) in.fail("a numpy array without bytes");
  const auto sizes_read = shape_of(graph, shape);
  const uint64_t size = saturating_product(count_of(sizes_read), item_size(type->type));
  if (size != data.text.size())
    in.fail("a numpy array {} of {} takes {} bytes, but {} came", text_of_shape(sizes_read), name_of(type->type), size,
            data.text.size());
  graph.count_links(in, 3);
  auto& target = graph.at(array);
  target.integer = given.fortran;
  target.items = {given.type, given.shape, given.data};
}

}  // namespace

void set_array_state(PickleGraph& graph, const ByteReader& in, NodeId array, NodeId state) {
  const auto& given = graph.at(state);
  if (given.kind != NodeKind::tuple || given.items.size() != 5)
    in.fail("a numpy array needs a state (version, shape, type, order, data)");
  const auto& order = graph.at(given.items[3]);
  const auto type = graph.at(given.items[2]).kind;
  const bool opaque = type == NodeKind::opaque || type == NodeKind::foreign;
  if (!opaque && order.kind != NodeKind::boolean && order.kind != NodeKind::integer)
    in.fail("a numpy array without an order of its elements");
  set_elements(graph, in, array, {given.items[1], given.items[2], given.items[4], order.integer != 0});
}

NodeId make_array(PickleGraph& graph, const ByteReader& in, NodeId arguments) {
  const auto given = graph.at(arguments).items;
  if (given.size() != 4 || graph.at(given[3]).kind != NodeKind::text)
    in.fail("a numpy array needs (data, type, shape, order)");
  const NodeId array = graph.add(in, {.kind = NodeKind::array});
  set_elements(graph, in, array, {given[2], given[1], given[0], graph.at(given[3]).text == "F"});
  return array;
}

StoredTensor stored_array(const PickleGraph& graph, const PickleNode& array) {
  if (array.items.empty()) fail("{}: the pickle makes a numpy array and gives it no elements", graph.name);
  const auto bytes = std::as_bytes(std::span(graph.at(array.items[2]).text));
  StoredTensor out{find_type(graph.at(array.items[0]))->type, shape_of(graph, graph.at(array.items[1])), {}};
  const bool fortran = array.integer != 0 && !bytes.empty();
  out.data = fortran ? from_fortran(bytes, item_size(out.type), out.shape) : Bytes(bytes);
  return out;
}

}  // namespace hpm
