#include "hpm/data/dataset.h"

#include "hpm/core/error.h"
#include "hpm/core/text.h"
#include "hpm/data/arrays.h"
#include "hpm/data/catalogue.h"
#include "hpm/data/image_folder.h"

namespace hpm {
namespace {

/// Float32 in [0,1], in memory of its own.
Tensor to_unit_range(const Tensor& pixels) {
  return pixels.scalar_type() == at::kByte ? pixels.to(at::kFloat).div_(255) : pixels.clone();
}

/// The part of `name` behind a prefix such as "images:"; empty without the prefix.
std::string after(const std::string& name, const char* prefix) {
  if (!name.starts_with(prefix)) return {};
  const auto path = name.substr(std::string_view(prefix).size());
  require(!path.empty(), "data: \"{}\" needs a path behind the colon", name);
  return path;
}

}  // namespace

Tensor Dataset::images(const Tensor& index) const {
  const auto wanted = index.to(at::kCPU);
  return to_unit_range(reader ? reader->read(wanted) : pixels.index_select(0, wanted));
}
Tensor Dataset::images(int64_t begin, int64_t end) const {
  if (!reader) return to_unit_range(pixels.slice(0, begin, end));
  return images(at::arange(std::min(begin, size()), std::min(end, size())));
}

Dataset load_dataset(const std::string& name, const std::string& split, const std::string& root,
                     const ImageOptions& options) {
  require(split == "train" || split == "test", "split: needs train or test, but got \"{}\"", split);
  Dataset data;
  if (const auto folder = after(name, "images:"); !folder.empty()) data = load_image_folder(folder, options);
  else if (const auto npz = after(name, "npz:"); !npz.empty()) data = load_arrays(npz, split);
  else if (const auto npy = after(name, "npy:"); !npy.empty()) data = load_arrays(npy, split);
  else return load_catalogued(name, split, root);
  data.name = printable_utf8(name);
  return data;
}

Dataset load_images(const std::string& input, const ImageOptions& options) {
  Dataset data;
  if (const auto folder = after(input, "images:"); !folder.empty()) data = load_unlabelled_folder(folder, options);
  else data = load_unlabelled_arrays(input);
  data.name = printable_utf8(input);
  return data;
}

}  // namespace hpm
