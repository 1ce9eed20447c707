// defines: read_npz(), npz_names()
#pragma once
#include <string>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

/// The names of the arrays of a .npz file (numpy.savez), in its order and without their ".npy".
std::vector<std::string> npz_names(const ByteSource& source);

/// Reads the arrays of a .npz file in its order, under their names without ".npy". If `names` is not empty, only these
/// are read. Throws Error when one of `names` is absent.
NamedStoredTensors read_npz(const ByteSource& source, const std::vector<std::string>& names = {});
NamedStoredTensors read_npz(const std::string& path, const std::vector<std::string>& names = {});

}  // namespace hpm
