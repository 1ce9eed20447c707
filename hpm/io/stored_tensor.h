// defines: ScalarType, StoredTensor, gather(), from_fortran()
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hpm/io/bytes.h"

namespace hpm {

enum class ScalarType : uint8_t {
  boolean,
  uint8,
  int8,
  int16,
  int32,
  int64,
  uint16,
  uint32,
  uint64,
  float16,
  bfloat16,
  float32,
  float64
};
inline constexpr size_t kScalarTypes = 13;

uint64_t item_size(ScalarType type);
std::string_view name_of(ScalarType type);  ///< "float32"
inline bool is_floating(ScalarType type) { return type >= ScalarType::float16; }
inline bool is_wide_unsigned(ScalarType type) { return type >= ScalarType::uint16 && type <= ScalarType::uint64; }
/// The inverse of name_of.
std::optional<ScalarType> scalar_type_of(std::string_view name);

/// A tensor as a file holds it: row-major and contiguous, data.size() == item_size(type) * product(shape).
struct StoredTensor {
  ScalarType type = ScalarType::float32;
  std::vector<int64_t> shape;
  Bytes data;

  uint64_t count() const { return data.size() / item_size(type); }
  friend bool operator==(const StoredTensor&, const StoredTensor&) = default;
};

using NamedStoredTensors = std::vector<std::pair<std::string, StoredTensor>>;

/// The product of the sizes, too large for any file where the sizes other than 0 overflow. None may be negative.
uint64_t count_of(std::span<const int64_t> shape);
std::string text_of_shape(std::span<const int64_t> shape);  ///< "[16, 3, 4, 4]"

/// Copies a strided view (strides in elements, first element at storage[0]) into row-major order. The view must lie
/// inside the storage.
Bytes gather(std::span<const std::byte> storage, uint64_t item, std::span<const int64_t> shape,
             std::span<const int64_t> strides);
/// Copies elements of which the first index runs fastest into row-major order; `data` holds as many as `shape` says.
Bytes from_fortran(std::span<const std::byte> data, uint64_t item, std::span<const int64_t> shape);

}  // namespace hpm
