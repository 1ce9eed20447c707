// defines: consecutive_batches(), kept_pass()
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/attacks/images.h"
#include "hpm/io/journal.h"

namespace hpm {

/// The places 0 .. n-1 in batches of at most `size`, in their order.
std::vector<Tensor> consecutive_batches(int64_t n, int64_t size);

/// What one pass over the images gives, [n,...] each, in the order of the images: `pass` is asked for each of `batches`
/// (places, no image in two of them; zeros for an image in none) and gives tensors of one row an image. The pass is
/// kept in the log under `name`, in pieces of whole batches: processes share them, and whoever does a piece computes in
/// the same batches. What was read back is on the CPU.
NamedTensors kept_pass(const WorkLog& log, const std::string& name, const ImageSet& images,
                       const std::vector<Tensor>& batches,
                       const std::function<NamedTensors(const Images& batch)>& pass);

}  // namespace hpm
