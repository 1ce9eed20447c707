// defines: read_mat()
#pragma once
#include <string>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

/// Reads real numeric arrays of a MATLAB file by name (MAT-File Format, level 5, as versions 5 to 7.2 write it, plain
/// or compressed). MATLAB's first index runs fastest. The data are not reordered, so the dimensions come in reverse: a
/// [32,32,3,N] has the shape [N,3,32,32]. Throws Error for a missing or broken file or array, and for an array over
/// `limit` bytes before its memory is taken.
NamedStoredTensors read_mat(const ByteSource& source, const std::vector<std::string>& names, uint64_t limit);

}  // namespace hpm
