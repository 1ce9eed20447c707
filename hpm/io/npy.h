// defines: read_npy(), read_npz(), write_npy()
#pragma once
#include <span>
#include <string>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

/// Reads a .npy file (numpy/lib/format.py, versions 1 to 3; little-endian numbers and booleans; C or Fortran order, the
/// latter is put into C order). Never unpickles: object arrays are refused.
StoredTensor read_npy(const ByteSource& source);
StoredTensor read_npy(const std::string& path);

/// Reads the arrays of a .npz file in its order, without their ".npy"; only those in `names` unless it is empty. Throws
/// Error when one of `names` is absent.
NamedStoredTensors read_npz(const ByteSource& source, const std::vector<std::string>& names = {});
NamedStoredTensors read_npz(const std::string& path, const std::vector<std::string>& names = {});

/// Writes a .npy file that numpy.load reads, complete or not at all. bfloat16 does not exist in NumPy and is refused.
void write_npy(const std::string& path, const StoredTensor& tensor);

}  // namespace hpm
