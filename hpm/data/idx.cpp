#include "hpm/data/idx.h"

#include <algorithm>

#include "hpm/io/foreign_content.h"

namespace hpm {
namespace {

uint32_t big_endian(const ByteSource& source, uint64_t offset) {
  uint32_t value = 0;
  source.read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return __builtin_bswap32(value);
}

/// The sizes in a header of `dims` dimensions, compared with the file's length.
std::vector<int64_t> idx_shape(const ByteSource& source, uint32_t dims) {
  const uint64_t header = 4 + 4 * uint64_t{dims};
  refuse_foreign_content(source);
  if (source.size() < header)
    source.fail_at(source.size(), "has {} bytes, too few for an IDX header of {}; get it anew", source.size(), header);
  const uint32_t magic = 0x800u | dims;
  if (const auto found = big_endian(source, 0); found != magic)
    source.fail_at(0, "needs to begin with the IDX magic number {:#06x}, but begins with {:#010x}", magic, found);
  std::vector<int64_t> shape;
  for (uint32_t d = 0; d < dims; ++d) shape.push_back(big_endian(source, 4 + 4 * uint64_t{d}));
  if (const uint64_t count = count_of(shape); saturating_sum(header, count) != source.size())
    source.fail_at(header, "its header declares {} bytes of data, but {} follow; the file is truncated or corrupt",
                   count, source.size() - header);
  return shape;
}

}  // namespace

LabelledBytes read_idx(const ByteSource& images, const ByteSource& labels, int64_t classes) {
  const auto shape = idx_shape(images, 3), count = idx_shape(labels, 1);
  if (shape[0] != count[0])
    fail("{}: holds {} images, but {} holds {} labels", images.name(), shape[0], labels.name(), count[0]);
  LabelledBytes out{{ScalarType::uint8, {shape[0], 1, shape[1], shape[2]}, images.read(16, images.size() - 16)}, {}};
  const Bytes found = labels.read(8, labels.size() - 8);
  out.labels.resize(found.size());
  std::ranges::transform(found, out.labels.begin(), [](std::byte b) { return std::to_integer<int64_t>(b); });
  check_labels(labels, out.labels, classes, [](size_t i) { return 8 + i; });
  return out;
}

}  // namespace hpm
