// In place of mat.cpp in a build without libmatio.
#include "hpm/io/mat.h"

namespace hpm {

NamedStoredTensors read_mat(const std::string& path, const std::vector<std::string>&, uint64_t) {
  fail("{}: this build cannot read MATLAB files; apt-get install libmatio-dev, and build again", path);
}
std::string mat_library() { return {}; }

}  // namespace hpm
