// defines: NpyHeader, read_npy_header(), read_npy(), write_npy()
#pragma once
#include <string>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

/// The header of a .npy file. The elements fill the file from `data` on.
struct NpyHeader {
  ScalarType type = ScalarType::float32;
  std::vector<int64_t> shape;
  bool fortran = false;  ///< the first index runs fastest
  uint64_t data = 0;     ///< offset of the first element
};

/// Reads the header alone, and compares it with the file's size; for files that are read in parts.
NpyHeader read_npy_header(const ByteSource& source);

/// Reads a .npy file (numpy/lib/format.py, versions 1 to 3; little-endian numbers and booleans; C or Fortran order, the
/// latter is put into C order). Never unpickles: object arrays are refused.
StoredTensor read_npy(const ByteSource& source);
StoredTensor read_npy(const std::string& path);

/// Writes a .npy file that numpy.load reads, complete or not at all. bfloat16 does not exist in NumPy and is refused.
void write_npy(const std::string& path, const StoredTensor& tensor);

}  // namespace hpm
