#include "hpm/data/svhn.h"

#include <cstring>

#include "hpm/io/file.h"
#include "hpm/io/mat.h"

namespace hpm {
namespace {

constexpr uint64_t kLargestArray = uint64_t{2} << 30;  // the 531,131 extra images take 1.6 GB

int64_t integer_at(const StoredTensor& array, size_t i) {
  if (array.type == ScalarType::uint8) return std::to_integer<int64_t>(array.data.data()[i]);
  double value = 0;
  std::memcpy(&value, array.data.data() + 8 * i, 8);
  return value >= 0 && value <= 255 ? static_cast<int64_t>(value) : -1;
}

}  // namespace

LabelledBytes read_svhn(const std::string& path, int64_t classes) {
  const auto arrays = read_mat(FileSource(path), {"X", "y"}, kLargestArray);
  const auto &x = arrays[0].second, &y = arrays[1].second;
  const int64_t count = static_cast<int64_t>(y.count());
  // Dimensions come in reverse: image, channel, column, row.
  if (x.type != ScalarType::uint8 || x.shape != std::vector<int64_t>{count, 3, 32, 32})
    fail("{}: needs X of uint8 [32, 32, 3, N] and N labels, but X reversed is {} {} and there are {} labels", path,
         name_of(x.type), text_of_shape(x.shape), count);
  if (y.type != ScalarType::uint8 && y.type != ScalarType::float64)
    fail("{}: needs labels y of uint8 or double, but they are {}", path, name_of(y.type));
  LabelledBytes out{{ScalarType::uint8, x.shape, gather(x.data, 1, x.shape, std::vector<int64_t>{3072, 1024, 1, 32})},
                    {}};
  for (size_t i = 0; i < y.count(); ++i) {
    const auto label = integer_at(y, i);
    out.labels.push_back(label == 10 ? 0 : label == 0 ? -1 : label);
  }
  check_labels(FileSource(path), out.labels, classes, [](size_t) { return uint64_t{0}; });
  return out;
}

}  // namespace hpm
