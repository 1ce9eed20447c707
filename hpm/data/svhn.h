// defines: read_svhn()
#pragma once
#include <string>

#include "hpm/data/labelled_bytes.h"

namespace hpm {

/// SVHN, cropped digits (Y. Netzer et al., 2011): X uint8 [32,32,3,N] (row, column, channel, image) and y [N,1] with
/// labels 1 to 10, where 10 is the digit 0. Throws Error with the file.
LabelledBytes read_svhn(const std::string& path, int64_t classes);

}  // namespace hpm
