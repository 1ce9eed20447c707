// Apart from statistics.cpp, which is built without LibTorch too: for the fuzzers of results.
#include "hpm/core/error.h"
#include "hpm/evaluation/results/statistics.h"

namespace hpm {

PairedComparison compare_paired(const at::Tensor& a, const at::Tensor& b) {
  require(a.sizes() == b.sizes() && a.dim() == 1, "compare_paired: needs flags of the same images, but got {} and {}",
          a.numel(), b.numel());
  return compare_paired((a & b.logical_not()).sum().item<int64_t>(), (b & a.logical_not()).sum().item<int64_t>(),
                        a.numel());
}

}  // namespace hpm
