// defines: Votes, votes_of_draws()
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace hpm {

using at::Tensor;

/// What several draws of a random prediction say.
struct Votes {
  /// [N,K]: how many draws predict each class, plus half the softmax of the draws' mean logits, which decides where two
  /// classes have equally many. The prediction is its argmax.
  Tensor counts;
  Tensor draws;  ///< [D,N,K]: the logits of each draw
};

/// The prediction of a random model: the class that most of `draws` draws predict. `logits(d)` gives the logits [N,K]
/// of draw d, which takes its random numbers from LibTorch's default CPU generator. The generator is seeded for each
/// draw, by `seed` and d, so that the draws are the same whenever as many rows are judged. Afterwards its state is what
/// it was.
Votes votes_of_draws(uint64_t seed, int64_t draws, const std::function<Tensor(int64_t draw)>& logits);

}  // namespace hpm
