// defines: read_idx_files(), read_cifar10_files(), read_dataset_file()
#pragma once
#include <string>
#include <vector>

#include "hpm/data/dataset.h"
#include "hpm/io/bytes.h"

namespace hpm {

/// The content of a file, decompressed where its name ends in .gz.
Bytes read_dataset_file(const std::string& path);

/// IDX (Y. LeCun, "The MNIST database"): images file, labels file; big-endian sizes, then bytes.
void read_idx_files(const std::string& folder, const std::vector<DatasetFile>& files, Dataset& out);
/// CIFAR-10 (A. Krizhevsky, 2009), binary version: records of one label byte and 3 planes of 32x32.
void read_cifar10_files(const std::string& folder, const std::vector<DatasetFile>& files, Dataset& out);

}  // namespace hpm
