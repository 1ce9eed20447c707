// defines: Dataset, ImageReader, load_dataset(), load_images()
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hpm/data/resize.h"

namespace hpm {

using at::Tensor;

/// Images that stay in their files until they are asked for.
class ImageReader {
 public:
  virtual ~ImageReader() = default;
  virtual std::vector<int64_t> shape() const = 0;  ///< [C,H,W]
  /// Images [M,C,H,W], uint8 or float32 in [0,1], for index [M] int64 (CPU). Throws Error for a broken file.
  virtual Tensor read(const Tensor& index) const = 0;
  /// The path of an image that has a file of its own, to open it by (printable_utf8 shows it); else empty.
  virtual std::string path(int64_t) const { return {}; }
  /// Called with what a user should know of the values that were read, once a kind.
  std::function<void(const std::string&)> on_note;
};

/// Images with labels: in memory, or read when they are asked for.
struct Dataset {
  std::string name;    ///< as given: "cifar10", "images:DIR"; like folder and class_names as printable_utf8 shows it
  std::string split;   ///< "train" or "test"; "all" where the files are not split
  std::string folder;  ///< where the files are
  Tensor pixels;       ///< [N,C,H,W] uint8, or float32 in [0,1]; undefined where `reader` has the images
  Tensor labels;       ///< [N] int64; -1 where nobody knows them
  std::vector<std::string> class_names;
  bool names_known = true;  ///< false: class_names are numbers, up to the largest label that occurs
  std::shared_ptr<ImageReader> reader = {};
  std::vector<std::string> notes = {};  ///< what a user should know: what was left out, changed or assumed

  int64_t size() const { return labels.size(0); }
  int64_t classes() const { return static_cast<int64_t>(class_names.size()); }
  std::vector<int64_t> image_shape() const { return reader ? reader->shape() : pixels.sizes().slice(1).vec(); }
  /// Images [M,C,H,W] float32 in [0,1] for index [M] int64.
  Tensor images(const Tensor& index) const;
  /// Images begin .. end-1.
  Tensor images(int64_t begin, int64_t end) const;
};

/// Loads a data set: a name of the catalogue (hpm/data/catalogue.h; `root` is the parent of its folder, "" = search),
/// "images:DIR" (hpm/data/image_folder.h), "npz:FILE" or "npy:FILE" (hpm/data/arrays.h). `options` are for image
/// folders. Throws UsageError for an unknown name, Error that says where it was looked for and how to get it for a
/// missing one, and Error with file and offset for a truncated or corrupt one.
Dataset load_dataset(const std::string& name, const std::string& split, const std::string& root = {},
                     const ImageOptions& options = {});

/// Images without labels (-1): "x.npy", "x.npz" or "images:DIR".
Dataset load_images(const std::string& input, const ImageOptions& options = {});

}  // namespace hpm
