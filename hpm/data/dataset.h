// defines: Dataset, DatasetFormat, dataset_formats(), find_dataset(), load_dataset()
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace hpm {

using at::Tensor;

/// Images with labels, in memory.
struct Dataset {
  std::string name;    ///< as given: "cifar10"
  std::string split;   ///< "train" or "test"
  std::string folder;  ///< where the files are
  Tensor pixels;       ///< [N,C,H,W] uint8
  Tensor labels;       ///< [N] int64
  std::vector<std::string> class_names;

  int64_t size() const { return labels.size(0); }
  int64_t classes() const { return static_cast<int64_t>(class_names.size()); }
  std::vector<int64_t> image_shape() const { return pixels.sizes().slice(1).vec(); }
  /// Images [M,C,H,W] float32 in [0,1] for index [M] int64.
  Tensor images(const Tensor& index) const;
  /// Images begin .. end-1.
  Tensor images(int64_t begin, int64_t end) const;
};

/// A file of a data set: its name below the folder, and the SHA-256 of its (decompressed) content, empty where unknown.
struct DatasetFile {
  std::string name, sha256;
};

/// A data set of the table in dataset.cpp.
struct DatasetFormat {
  std::string name;                      ///< "fashion-mnist"
  std::string folder;                    ///< below a data root: "fashion-mnist", "cifar-10-batches-bin"
  std::string how_to_get;                ///< what brings it
  std::vector<DatasetFile> train, test;  ///< IDX: images, then labels; CIFAR: the batches
  std::vector<std::string> class_names;
  void (*read)(const std::string& folder, const std::vector<DatasetFile>& files, Dataset& out);
};
const std::vector<DatasetFormat>& dataset_formats();
/// SHA-256 of a file's content, decompressed where its name ends in .gz, as 64 hexadecimal digits.
std::string sha256_of_dataset_file(const std::string& path);
const DatasetFormat& dataset_format(const std::string& name);  ///< throws UsageError with the nearest known name

/// The folders that are searched for a data set, in order: `root`, or else $HPM_DATA and the system's places.
std::vector<std::string> data_roots(const std::string& root);

/// The folder that holds all files of a split, "" where none does.
std::string find_dataset(const DatasetFormat& format, const std::string& split, const std::string& root);

/// Loads a data set by name; `root` is the parent of e.g. cifar-10-batches-bin ("" = search). Throws UsageError for an
/// unknown name, Error that says where it was looked for and how to get it for a missing one, and Error with file and
/// offset for a truncated or corrupt one.
Dataset load_dataset(const std::string& name, const std::string& split, const std::string& root = {});

}  // namespace hpm
