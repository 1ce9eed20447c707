// defines: read_cifar_binary(), read_cifar_pickle()
#pragma once
#include "hpm/data/labelled_bytes.h"

namespace hpm {

/// CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009), binary version: records of `label_bytes` bytes, the last of which is
/// the label (CIFAR-100: coarse, fine), and 3 planes of 32x32. Throws Error with file and offset.
LabelledBytes read_cifar_binary(const ByteSource& source, uint64_t label_bytes, int64_t classes);

/// The Python version: a pickle of a dict with "data", uint8 [N,3072], and the list "labels" or "fine_labels". No code
/// is run. Throws Error with file and, where the pickle itself is broken, offset.
LabelledBytes read_cifar_pickle(const ByteSource& source, int64_t classes);

}  // namespace hpm
