// defines: Confirmation
#pragma once
#include <functional>

#include "hpm/attacks/losses.h"

namespace hpm {

/// Second looks at a search in reduced precision: a row that one of its passes calls wrong counts only once a pass in
/// full precision agrees.
///
/// On the CPU all such rows are passed again at once. On a GPU asking which they are would wait for the device in every
/// pass. There a fixed number of rows is passed again, the most clearly wrong first. The number follows what the last
/// 16 passes needed, which is read in one look. A wrong row that finds no place counts as right in this pass.
class Confirmation {
 public:
  /// The verdict's logits [N,K] of a search pass whose logits are `logits`. `exact(rows)`: the logits [m,K] of the rows
  /// [m] in full precision.
  Tensor operator()(const Tensor& logits, const Tensor& labels, const std::function<Tensor(const Tensor& rows)>& exact);

 private:
  /// How many rows a pass on a GPU looks at again.
  int64_t places(const Tensor& wrong);
  Tensor most_;  // wrong rows of a pass, the most since the last look; without dimensions, on the device
  int64_t needed_ = -1, passes_ = 0;
};

}  // namespace hpm
