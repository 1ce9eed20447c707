// The header of a safetensors file, parsed but not yet compared with the file.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

struct SafetensorsField {
  std::string name;
  ScalarType type = ScalarType::float32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  ///< in the data, which follow the header
};

/// Fields in the header's order. Throws Error for anything but
/// {"__metadata__": {text: text}, name: {"dtype": text, "shape": [naturals], "data_offsets": [begin, end]}, ...}.
std::vector<SafetensorsField> parse_safetensors_header(const ByteSource& source, std::string_view header,
                                                       std::map<std::string, std::string>& metadata);

std::string_view safetensors_type_name(ScalarType type);  ///< "F32"

}  // namespace hpm
