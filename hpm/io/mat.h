// defines: read_mat()
#pragma once
#include <string>
#include <vector>

#include "hpm/io/stored_tensor.h"

namespace hpm {

/// Reads numeric arrays of a MATLAB file (version 4 to 7.2) by name. MATLAB's first index runs fastest; the array comes
/// as it lies there, with its dimensions in reverse: a [32,32,3,N] has the shape [N,3,32,32]. Throws Error for a
/// missing or broken file or array, and for one over `limit` bytes, before they are taken. Without libmatio
/// (mat_stub.cpp) every file is refused with a message that names the package.
NamedStoredTensors read_mat(const std::string& path, const std::vector<std::string>& names, uint64_t limit);

/// The library and its version, empty where this build has none.
std::string mat_library();

}  // namespace hpm
