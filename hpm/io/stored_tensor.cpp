#include "hpm/io/stored_tensor.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace hpm {
namespace {

// Below it, sizes in bytes fit 64 bits.
constexpr uint64_t largest_count = uint64_t{1} << 58;

struct TypeRow {
  std::string_view name;
  uint64_t size;
};
// In the order of ScalarType.
constexpr std::array<TypeRow, kScalarTypes> types{{{"boolean", 1},
                                                   {"uint8", 1},
                                                   {"int8", 1},
                                                   {"int16", 2},
                                                   {"int32", 4},
                                                   {"int64", 8},
                                                   {"uint16", 2},
                                                   {"uint32", 4},
                                                   {"uint64", 8},
                                                   {"float16", 2},
                                                   {"bfloat16", 2},
                                                   {"float32", 4},
                                                   {"float64", 8}}};

template <uint64_t item>
void copy_row(std::byte* to, const std::byte* from, int64_t count, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * item, from + i * stride * static_cast<int64_t>(item), item);
}

using CopyRow = void (*)(std::byte*, const std::byte*, int64_t, int64_t);
CopyRow row_copier(uint64_t item) {
  return item == 1 ? copy_row<1> : item == 2 ? copy_row<2> : item == 4 ? copy_row<4> : copy_row<8>;
}

}  // namespace

uint64_t item_size(ScalarType type) { return types[static_cast<size_t>(type)].size; }
std::string_view name_of(ScalarType type) { return types[static_cast<size_t>(type)].name; }

std::optional<ScalarType> scalar_type_of(std::string_view name) {
  for (size_t i = 0; i < types.size(); ++i)
    if (types[i].name == name) return static_cast<ScalarType>(i);
  return std::nullopt;
}

uint64_t count_of(std::span<const int64_t> shape) {
  // Zeros are multiplied in last: strides are computed from the other sizes, so these must not overflow either.
  uint64_t count = 1, zeros = 0;
  for (const int64_t size : shape) {
    if (size == 0) ++zeros;
    else count = saturating_product(count, static_cast<uint64_t>(size));
  }
  return zeros > 0 && count < largest_count ? 0 : count;
}

std::string text_of_shape(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Bytes gather(std::span<const std::byte> storage, uint64_t item, std::span<const int64_t> shape,
             std::span<const int64_t> strides) {
  Bytes out(count_of(shape) * item);
  if (out.empty()) return out;
  // The longest tail that is contiguous in the storage is copied as one piece.
  size_t outer = shape.size();
  int64_t run = 1;
  while (outer > 0 && (shape[outer - 1] == 1 || strides[outer - 1] == run)) run *= shape[--outer];
  const bool pieces = outer == 0 || run > 1;
  const int64_t row = pieces ? run : shape[outer - 1], row_stride = pieces ? 1 : strides[outer - 1];
  if (!pieces) --outer;
  const auto copy = row_copier(item);

  std::vector<int64_t> index(outer, 0);
  int64_t from = 0;
  for (std::byte* to = out.data(); to != out.end(); to += static_cast<uint64_t>(row) * item) {
    const std::byte* source = storage.data() + static_cast<uint64_t>(from) * item;
    if (pieces) std::memcpy(to, source, static_cast<uint64_t>(row) * item);
    else copy(to, source, row, row_stride);
    for (size_t d = outer; d-- > 0;) {
      from += strides[d];
      if (++index[d] < shape[d]) break;
      from -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}

Bytes from_fortran(std::span<const std::byte> data, uint64_t item, std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t d = 0; d < shape.size() && !data.empty(); ++d) {
    strides[d] = stride;
    stride *= shape[d];
  }
  return gather(data, item, shape, strides);
}

}  // namespace hpm
