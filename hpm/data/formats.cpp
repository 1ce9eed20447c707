#include <zlib.h>

#include <cstring>

#include "hpm/data/formats_impl.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"

namespace hpm {
namespace {

constexpr size_t kLargestFile = size_t{1} << 31;  // decompressed; the largest of these data sets has 184 MB

Bytes gunzip(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (!file) fail("{}: cannot be opened", path);
  std::unique_ptr<gzFile_s, int (*)(gzFile)> guard(file, gzclose);
  std::string content;
  std::vector<char> buffer(1 << 20);
  for (int count; (count = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) != 0;) {
    int code = 0;
    if (count < 0) fail("{}: is no intact gzip file ({}); get it anew", path, gzerror(file, &code));
    content.append(buffer.data(), static_cast<size_t>(count));
    if (content.size() > kLargestFile)
      fail("{}: holds over {} bytes; this is none of the known data sets", path, kLargestFile);
  }
  int code = Z_OK;
  const char* message = gzerror(file, &code);
  if (code != Z_OK && code != Z_STREAM_END) fail("{}: ends early ({}); get it anew", path, message);
  return Bytes(std::as_bytes(std::span(content)));
}

uint32_t big_endian(const Bytes& bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<uint32_t>(bytes.data()[offset + i]);
  return value;
}

/// The sizes in an IDX header of `dims` dimensions, checked against the file's length.
std::vector<int64_t> idx_shape(const std::string& path, const Bytes& bytes, int dims) {
  const size_t header = 4 + 4 * static_cast<size_t>(dims);
  if (bytes.size() < header)
    fail("{}: has {} bytes, too few for an IDX header of {}; get it anew", path, bytes.size(), header);
  const uint32_t magic = 0x800u | static_cast<uint32_t>(dims);
  if (big_endian(bytes, 0) != magic)
    fail("{}: needs to begin with the IDX magic number {:#06x}, but begins with {:#010x} (at byte 0)", path, magic,
         big_endian(bytes, 0));
  std::vector<int64_t> shape;
  uint64_t count = 1;
  for (int d = 0; d < dims; ++d) {
    shape.push_back(big_endian(bytes, 4 + 4 * static_cast<size_t>(d)));
    count = saturating_product(count, static_cast<uint64_t>(shape.back()));
  }
  if (saturating_sum(header, count) != bytes.size())
    fail("{}: its header declares {} bytes of data, but {} follow; the file is truncated or corrupt", path, count,
         bytes.size() - header);
  return shape;
}

Tensor copy_bytes(const std::byte* data, std::vector<int64_t> shape) {
  auto out = at::empty(shape, at::kByte);
  if (out.numel() > 0) std::memcpy(out.data_ptr(), data, static_cast<size_t>(out.numel()));
  return out;
}

void check_labels(const std::string& path, const Tensor& labels, int64_t classes) {
  const auto wrong = labels.ge(classes).nonzero();
  if (wrong.numel() > 0)
    fail("{}: record {} has label {}, but there are {} classes; the file is corrupt", path, wrong[0].item<int64_t>(),
         labels[wrong[0].item<int64_t>()].item<int64_t>(), classes);
}

}  // namespace

std::string sha256_of_dataset_file(const std::string& path) {
  return sha256(std::span<const std::byte>(read_dataset_file(path)));
}

Bytes read_dataset_file(const std::string& path) { return path.ends_with(".gz") ? gunzip(path) : read_file(path); }

void read_idx_files(const std::string& folder, const std::vector<DatasetFile>& files, Dataset& out) {
  const auto image_path = folder + "/" + files.at(0).name, label_path = folder + "/" + files.at(1).name;
  const auto images = read_dataset_file(image_path), labels = read_dataset_file(label_path);
  const auto shape = idx_shape(image_path, images, 3), count = idx_shape(label_path, labels, 1);
  if (shape[0] != count[0])
    fail("{}: holds {} images, but {} holds {} labels", image_path, shape[0], label_path, count[0]);
  out.pixels = copy_bytes(images.data() + 16, {shape[0], 1, shape[1], shape[2]});
  out.labels = copy_bytes(labels.data() + 8, {count[0]}).to(at::kLong);
  check_labels(label_path, out.labels, out.classes());
}

void read_cifar10_files(const std::string& folder, const std::vector<DatasetFile>& files, Dataset& out) {
  constexpr size_t record = 1 + 3 * 32 * 32;
  std::vector<Tensor> pixels, labels;
  for (const auto& file : files) {
    const auto path = folder + "/" + file.name;
    const auto bytes = read_dataset_file(path);
    if (bytes.empty() || bytes.size() % record != 0)
      fail("{}: needs to be records of {} bytes, but has {} bytes: record {} is cut (at byte {}); get it anew", path,
           record, bytes.size(), bytes.size() / record, bytes.size() / record * record);
    const auto rows =
        copy_bytes(bytes.data(), {static_cast<int64_t>(bytes.size() / record), static_cast<int64_t>(record)});
    labels.push_back(rows.select(1, 0).to(at::kLong));
    check_labels(path, labels.back(), out.classes());
    pixels.push_back(rows.slice(1, 1).reshape({rows.size(0), 3, 32, 32}));
  }
  out.pixels = at::cat(pixels);
  out.labels = at::cat(labels);
}

}  // namespace hpm
