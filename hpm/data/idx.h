// defines: read_idx()
#pragma once
#include "hpm/data/labelled_bytes.h"

namespace hpm {

/// IDX (Y. LeCun, "The MNIST database"): a file of images and one of labels; big-endian sizes, then bytes. Throws Error
/// with file and offset.
LabelledBytes read_idx(const ByteSource& images, const ByteSource& labels, int64_t classes);

}  // namespace hpm
