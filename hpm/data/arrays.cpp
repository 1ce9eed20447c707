#include "hpm/data/arrays.h"

#include <atomic>

#include "hpm/core/error.h"
#include "hpm/core/text.h"
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

bool is_integer(ScalarType type) { return type != ScalarType::boolean && !is_floating(type); }

Layout layout_of(const std::string& name, const std::vector<int64_t>& shape, ScalarType type) {
  const auto channels = [](int64_t size) { return size == 1 || size == 3; };
  if (type == ScalarType::boolean || type == ScalarType::bfloat16)
    fail("{}: needs uint8 or floating point in [0,1], but holds {}", name, name_of(type));
  if (count_of(shape) == 0) fail("{}: holds no images; its shape is {}", name, text_of_shape(shape));
  if (shape.size() == 3) return {.gray = true, .image = {1, shape[1], shape[2]}};
  const bool first = shape.size() == 4 && channels(shape[1]), last = shape.size() == 4 && channels(shape[3]);
  if (first == last)
    fail("{}: needs images [N,C,H,W] or [N,H,W,C] with 1 or 3 channels, or [N,H,W], but {} {}", name,
         text_of_shape(shape), first ? "could be either" : "is neither");
  if (first) return {.image = {shape[1], shape[2], shape[3]}};
  return {.channels_last = true, .image = {shape[3], shape[1], shape[2]}};
}

/// How far outside [0,1] a value may lie and still be a rounded 0 or 1: 8 units in the last place of float32 at 1.
/// Undoing a normalisation (x * std + mean) leaves up to about 4; a step of 8-bit images is 4000 times as large.
constexpr double kRounding = 1e-6;

/// The first image of x [N,C,H,W] for which `bad` [N,C,H,W] is true anywhere, and in how many images it is.
struct BadImages {
  int64_t first = 0, count = 0;
};
BadImages images_where(const Tensor& bad) {
  const auto images = bad.flatten(1).any(1);
  return {images.to(at::kInt).argmax().item<int64_t>(), images.sum().item<int64_t>()};
}

std::string of_images(int64_t count, int64_t all) {
  return count == 1 ? std::string() : fmt::format("; {} of {} images have such values", count, all);
}

/// The shortest decimals that are this float32: 1.0000021, not 1.
std::string digits(const Tensor& value) { return fmt::format("{}", value.item<float>()); }

/// Integers in 0..255, whatever their type, are 8-bit pixels.
Tensor integer_pixels(const std::string& name, const Tensor& x, ScalarType type, std::vector<std::string>& notes) {
  const auto low = x.min().item<int64_t>(), high = x.max().item<int64_t>();
  if (low < 0 || high > 255)
    fail(
        "{}: integer pixels need to lie in 0..255, but they span {} to {}; divide them by the largest possible value{} "
        "and save "
        "float32 in [0,1]",
        name, low, high, high > 255 && high <= 65535 ? " (65535 for 16 bits)" : "");
  notes.push_back(
      fmt::format("{}: {} values from {} to {} were taken as 8-bit pixels (0..255)", name, name_of(type), low, high));
  return x.to(at::kByte);
}

/// [N,C,H,W] as uint8, or as float32 in [0,1]. `numbers(i)` is the number that image i of x has for the user. Rounding
/// beyond [0,1] is clamped, and said in `notes`.
template <class Numbers>
Tensor checked_pixels(const std::string& name, const Tensor& x, ScalarType type, Numbers numbers,
                      std::vector<std::string>& notes) {
  if (type == ScalarType::uint8) return x;
  if (is_integer(type)) return integer_pixels(name, x, type, notes);
  const auto out = x.to(at::kFloat);
  if (const auto sum = out.sum().item<double>(); !std::isfinite(sum)) {
    for (const auto& [bad, what] : {std::pair{out.isnan(), "NaN"}, {out.isinf(), "an infinite value"}})
      if (bad.any().template item<bool>()) {
        const auto [first, count] = images_where(bad);
        fail("{}: {} in image {}{}", name, what, numbers(first), of_images(count, out.size(0)));
      }
  }
  const auto low = out.min(), high = out.max();
  if (low.item<double>() >= 0 && high.item<double>() <= 1) return out;
  const auto outside = (out < -kRounding).logical_or_(out > 1 + kRounding);
  if (!outside.any().item<bool>()) {
    notes.push_back(fmt::format("{}: values span [{}, {}]; what lies outside [0,1] by rounding (up to {}) is clamped",
                                name, digits(low), digits(high), kRounding));
    return out.clamp_(0, 1);
  }
  const auto [first, count] = images_where(outside);
  const double least = low.item<double>(), most = high.item<double>();
  const auto hint = least > -.01 && most > 1.5 && most <= 255.01
                        ? "; these look like 0..255: divide by 255, or save them as uint8"
                    : least < -.5 ? "; these look normalised: undo it (x * std + mean)"
                                  : "; clip what is no image, or scale it";
  fail("{}: needs values in [0,1] (or uint8), but they span [{}, {}], first in image {}{}{}", name, digits(low),
       digits(high), numbers(first), of_images(count, out.size(0)), hint);
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
    std::vector<std::string> notes;
    auto out = checked_pixels(
        file_.name(), layout_.apply(to_tensor(std::move(rows))), header_.type,
        [&](int64_t i) { return index[i].item<int64_t>(); }, notes);
    if (!notes.empty() && on_note && !noted_.exchange(true)) on_note(notes.front());
    return out;
  }

 private:
  FileSource file_;
  NpyHeader header_;
  Layout layout_;
  mutable std::atomic<bool> noted_ = false;
};

/// Puts the images into the data set, and returns how many they are.
int64_t set_images(Dataset& data, const std::string& name, StoredTensor stored) {
  const auto type = stored.type;
  const auto layout = layout_of(name, stored.shape, type);
  data.pixels = checked_pixels(
      name, layout.apply(to_tensor(std::move(stored))), type, [](int64_t i) { return i; }, data.notes);
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
  if (stored.type == ScalarType::boolean || is_floating(stored.type) || (stored.shape.size() != 1 && !column))
    fail("{}: needs integer labels [N], but holds {} {}", name, name_of(stored.type), text_of_shape(stored.shape));
  try {
    data.labels = to_tensor(stored).to(at::kLong).flatten();
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  }
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
  Dataset data{.split = "all", .folder = printable_utf8(std::filesystem::path(path).parent_path().string())};
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
  Dataset data{.split = "all", .folder = printable_utf8(std::filesystem::path(path).parent_path().string())};
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
