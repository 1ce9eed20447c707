#include "hpm/data/arrays.h"

#include "hpm/core/error.h"
#include "hpm/io/file.h"
#include "hpm/io/npy.h"
#include "hpm/io/npz.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

/// [N,...] as stored -> [N,C,H,W].
struct Layout {
  bool channels_last = false, gray = false;
  std::vector<int64_t> image;  ///< [C,H,W]

  Tensor apply(const Tensor& x) const {
    if (gray) return x.unsqueeze(1);
    return channels_last ? x.permute({0, 3, 1, 2}).contiguous() : x;
  }
};

Layout layout_of(const std::string& name, const std::vector<int64_t>& shape, ScalarType type) {
  const auto channels = [](int64_t size) { return size == 1 || size == 3; };
  const bool number = type == ScalarType::uint8 || type == ScalarType::float16 || type == ScalarType::float32 ||
                      type == ScalarType::float64;
  if (!number) fail("{}: needs uint8 or floating point in [0,1], but holds {}", name, name_of(type));
  if (count_of(shape) == 0) fail("{}: holds no images; its shape is {}", name, text_of_shape(shape));
  if (shape.size() == 3) return {.gray = true, .image = {1, shape[1], shape[2]}};
  const bool first = shape.size() == 4 && channels(shape[1]), last = shape.size() == 4 && channels(shape[3]);
  if (first == last)
    fail("{}: needs images [N,C,H,W] or [N,H,W,C] with 1 or 3 channels, or [N,H,W], but {} {}", name,
         text_of_shape(shape), first ? "could be either" : "is neither");
  if (first) return {.image = {shape[1], shape[2], shape[3]}};
  return {.channels_last = true, .image = {shape[3], shape[1], shape[2]}};
}

/// uint8, or float32 that was checked to lie in [0,1].
Tensor checked_pixels(const std::string& name, const Tensor& x) {
  if (x.scalar_type() == at::kByte) return x;
  const auto out = x.to(at::kFloat);
  const double low = out.min().item<double>(), high = out.max().item<double>();
  if (!(low >= 0 && high <= 1))
    fail("{}: needs values in [0,1] (or uint8), but they span [{:.3g}, {:.3g}]", name, low, high);
  return out;
}

/// The images of a .npy file in C order, by number.
class NpyImages : public ImageReader {
 public:
  NpyImages(const std::string& path, NpyHeader header)
      : file_(path), header_(std::move(header)), layout_(layout_of(path, header_.shape, header_.type)) {}

  std::vector<int64_t> shape() const override { return layout_.image; }

  Tensor read(const Tensor& index) const override {
    auto shape = header_.shape;
    const auto total = static_cast<uint64_t>(shape[0]);
    shape[0] = index.numel();
    const uint64_t row = (file_.size() - header_.data) / total;
    StoredTensor rows{header_.type, shape, Bytes(row * static_cast<uint64_t>(index.numel()))};
    for (int64_t i = 0; i < index.numel(); ++i) {
      const auto number = index[i].item<int64_t>();
      require(number >= 0 && number < header_.shape[0], "images: needs image numbers below {}, but got {}", total,
              number);
      file_.read(header_.data + static_cast<uint64_t>(number) * row,
                 std::span(rows.data).subspan(static_cast<size_t>(i) * row, row));
    }
    if (index.numel() == 0) return at::empty({0, layout_.image[0], layout_.image[1], layout_.image[2]}, at::kByte);
    return checked_pixels(file_.name(), layout_.apply(to_tensor(std::move(rows))));
  }

 private:
  FileSource file_;
  NpyHeader header_;
  Layout layout_;
};

/// Sets what holds the images, and returns how many there are.
int64_t set_images(Dataset& data, const std::string& name, StoredTensor stored) {
  const auto layout = layout_of(name, stored.shape, stored.type);
  data.pixels = checked_pixels(name, layout.apply(to_tensor(std::move(stored))));
  return data.pixels.size(0);
}
int64_t set_images(Dataset& data, const std::string& path) {
  auto header = read_npy_header(FileSource(path));
  if (header.fortran) return set_images(data, path, read_npy(path));
  data.reader = std::make_shared<NpyImages>(path, header);
  return header.shape[0];
}

void set_labels(Dataset& data, const std::string& name, const StoredTensor& stored, int64_t images) {
  const bool column = stored.shape.size() == 2 && stored.shape[1] == 1;
  if (stored.type == ScalarType::boolean || stored.type >= ScalarType::float16 || (stored.shape.size() != 1 && !column))
    fail("{}: needs integer labels [N], but holds {} {}", name, name_of(stored.type), text_of_shape(stored.shape));
  data.labels = to_tensor(stored).to(at::kLong).flatten();
  if (data.size() != images) fail("{}: holds {} labels for {} images", name, data.size(), images);
  const auto low = data.labels.min().item<int64_t>(), high = data.labels.max().item<int64_t>();
  if (low < 0 || high >= 1'000'000) fail("{}: needs labels from 0 on, but they span {} to {}", name, low, high);
  data.names_known = false;
  for (int64_t k = 0; k <= high; ++k) data.class_names.push_back(std::to_string(k));
}

bool is_npy(const std::string& path) {
  if (path.ends_with(".npy")) return true;
  require(path.ends_with(".npz"), "data: needs a .npy or .npz file, or images:DIR, but got \"{}\"", path);
  return false;
}

/// The first of `wanted` that the file has; "" where it has none.
std::string choose(const std::vector<std::string>& present, const std::vector<std::string>& wanted) {
  for (const auto& name : wanted)
    if (std::ranges::find(present, name) != present.end()) return name;
  return {};
}

StoredTensor take(const std::string& path, const std::string& name) { return read_npz(path, {name}).front().second; }

}  // namespace

Dataset load_arrays(const std::string& path, const std::string& split) {
  Dataset data{.split = "all", .folder = std::filesystem::path(path).parent_path().string()};
  if (is_npy(path)) {
    const auto labels = (std::filesystem::path(path).parent_path() / "labels.npy").string();
    const auto images = set_images(data, path);
    set_labels(data, labels, read_npy(labels), images);
    return data;
  }
  const auto present = npz_names(FileSource(path));
  const auto images = choose(present, {split + "_images", "x_" + split, "images", "x"});
  const auto labels = choose(present, {split + "_labels", "y_" + split, "labels", "y"});
  if (images.empty() || labels.empty())
    fail("{}: needs arrays {}_images or x_{} or images or x, and {}_labels or y_{} or labels or y, but holds {}", path,
         split, split, split, split, fmt::join(present, ", "));
  if (images.find(split) != std::string::npos) data.split = split;
  const auto count = set_images(data, path + "/" + images, take(path, images));
  set_labels(data, path + "/" + labels, take(path, labels), count);
  return data;
}

Dataset load_unlabelled_arrays(const std::string& path) {
  Dataset data{.split = "all", .folder = std::filesystem::path(path).parent_path().string()};
  int64_t count = 0;
  if (is_npy(path)) {
    count = set_images(data, path);
  } else {
    const auto present = npz_names(FileSource(path));
    const auto name = present.size() == 1 ? present[0] : choose(present, {"images", "x", "test_images", "x_test"});
    if (name.empty())
      fail("{}: needs one array of images, or one named images or x, but holds {}", path, fmt::join(present, ", "));
    count = set_images(data, path + "/" + name, take(path, name));
  }
  data.labels = at::full({count}, -1, at::kLong);
  return data;
}

}  // namespace hpm
