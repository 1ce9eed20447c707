// defines: LabelledBytes
#pragma once
#include <cstdint>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

/// Images and labels as the parsers of files give them, without LibTorch.
struct LabelledBytes {
  StoredTensor images;          ///< uint8 [N,C,H,W]
  std::vector<int64_t> labels;  ///< N of them, each in [0, classes)
};

/// Throws Error for a label outside [0, classes); `offset(i)` is where label i lies.
template <class Offset>
void check_labels(const ByteSource& source, const std::vector<int64_t>& labels, int64_t classes, Offset offset) {
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels[i] < 0 || labels[i] >= classes)
      source.fail_at(offset(i), "record {} has label {}, but there are {} classes; the file is corrupt", i, labels[i],
                     classes);
}

}  // namespace hpm
