#include "hpm/attacks/compaction.h"

#include "hpm/core/norms.h"

namespace hpm {

int64_t compaction_period(int64_t asked, const Tensor& x) { return asked > 0 ? asked : x.is_cpu() ? 1 : 12; }

Tensor rows_that_stay(const Images& images, const Tensor& right) {
  if (!images.run.defined() || right.all().item<bool>()) return right;
  return at::isin(images.index, images.index.index({right.logical_not()})).logical_not();
}

void put_rows_where(Tensor& into, const Tensor& places, const Tensor& from, const Tensor& mask) {
  if (!into.is_cpu()) {
    into.index_copy_(0, places, at::where(per_row(mask, from), from, into.index_select(0, places)));
    return;
  }
  const auto rows = mask.nonzero().squeeze(1);
  if (rows.numel() > 0) into.index_copy_(0, places.index_select(0, rows), from.index_select(0, rows));
}

}  // namespace hpm
