// defines: compaction_period(), rows_that_stay(), put_rows_where()
#pragma once
#include "hpm/attacks/images.h"

namespace hpm {

/// The number of steps between two looks for broken rows, which then leave. On a GPU each look waits for the device, so
/// it pays to carry broken rows for some steps; on the CPU a look costs nothing. `asked`: 0 for the default, which is 1
/// on the CPU and 12 on a GPU.
int64_t compaction_period(int64_t asked, const Tensor& x);

/// Which rows of a run go on, [M] bool (CPU): those that are `right` [M] bool (CPU) and, where several runs are made at
/// once, whose image is right in all of them.
Tensor rows_that_stay(const Images& images, const Tensor& right);

/// into[places[i]] = from[i] for the rows i where `mask` [M] holds; places [M] int64 has no row twice. Does not wait
/// for a GPU.
void put_rows_where(Tensor& into, const Tensor& places, const Tensor& from, const Tensor& mask);

}  // namespace hpm
