// defines: DatasetFormat, DatasetLayout, DatasetFile, FoundDataset, dataset_formats(), find_dataset(), verify_file()
#pragma once
#include <string>
#include <vector>

#include "hpm/data/dataset.h"
#include "hpm/data/labelled_bytes.h"

namespace hpm {

/// A file of a data set, and the checksum that its publisher or its users agree on: SHA-256 (64 digits) or MD5 (32).
/// The checksum of a .gz file is that of its content, because it may also be there decompressed.
struct DatasetFile {
  std::string name, checksum;
};

using Sources = std::vector<std::unique_ptr<ByteSource>>;

/// One of the ways in which a data set is published.
struct DatasetLayout {
  std::vector<std::string> folders;      ///< one of these below a data root, e.g. "cifar-10-batches-bin"
  DatasetFile archive;                   ///< in a data root, the file that holds the first folder; no name: none
  std::vector<DatasetFile> train, test;  ///< in the order in which `read` wants them
  std::vector<LabelledBytes> (*read)(const Sources& files, int64_t classes);

  const std::vector<DatasetFile>& files(const std::string& split) const { return split == "train" ? train : test; }
};

struct DatasetFormat {
  std::string name;        ///< "fashion-mnist"
  std::string how_to_get;  ///< where to get it, for messages
  std::vector<DatasetLayout> layouts;
  std::vector<std::string> class_names;
};

const std::vector<DatasetFormat>& dataset_formats();
const DatasetFormat& dataset_format(const std::string& name);  ///< throws UsageError with the nearest known name

/// The folders that are searched for a data set, in order: `root`, or else $HPM_DATA and the system's places.
std::vector<std::string> data_roots(const std::string& root);

/// Where the files of a split are.
struct FoundDataset {
  const DatasetLayout* layout = nullptr;  ///< null: nowhere
  std::string place;                      ///< the folder, or the archive
  bool archive = false;

  explicit operator bool() const { return layout != nullptr; }
  /// The path of a file in the folder; .gz files may lie there decompressed.
  std::string path(const DatasetFile& file) const;
};

/// The first place that holds all files of a split: a folder before an archive.
FoundDataset find_dataset(const DatasetFormat& format, const std::string& split, const std::string& root);

/// The checksum of a file, of the same kind (SHA-256, MD5) as `expected`, and of the content where that is a .gz file.
std::string checksum_of(const std::string& path, const DatasetFile& expected);

Dataset load_catalogued(const std::string& name, const std::string& split, const std::string& root);

}  // namespace hpm
