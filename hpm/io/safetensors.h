// defines: SafetensorsFile, read_safetensors(), read_safetensors_rows(), write_safetensors(), SafetensorsEntry
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

struct SafetensorsFile {
  NamedStoredTensors tensors;  ///< in the header's order
  std::map<std::string, std::string> metadata;
};

/// True when the file begins as a safetensors file does: a header size that fits, then "{".
bool is_safetensors(const ByteSource& source);

/// Reads a safetensors file (huggingface/safetensors, "Format"). Every field of the header is checked before memory is
/// taken: types, shapes, offsets that fit the shapes, lie in the file, do not overlap and leave no holes.
SafetensorsFile read_safetensors(const ByteSource& source);
SafetensorsFile read_safetensors(const std::string& path);

/// Rows (along the first axis) of one tensor of a file, the others unread: [rows.size(), ...]. Throws Error for a name
/// or row that is not there.
StoredTensor read_safetensors_rows(const std::string& path, const std::string& name, std::span<const int64_t> rows);

class AtomicFile;

/// A tensor to write; the bytes are borrowed, or written part by part where they are not in memory all at once.
struct SafetensorsEntry {
  std::string name;
  ScalarType type;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
  std::function<void(AtomicFile&)> write = {};  ///< writes as many bytes as the shape takes
  uint64_t bytes() const;
};

/// Writes a safetensors file, complete or not at all. The header lists the tensors in the given order and is a multiple
/// of 8 bytes long; the data are laid out by falling item size, so that every tensor is aligned.
void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& tensors,
                       const std::map<std::string, std::string>& metadata = {});
void write_safetensors(const std::string& path, const NamedStoredTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace hpm
