#include "hpm/attacks/votes.h"

#include "hpm/core/error.h"
#include "hpm/core/kept_generator_impl.h"

namespace hpm {

static constexpr uint64_t kVerdictSeed = 0x5eed;  // so that no attack with the same seed saw these draws

Votes votes_of_draws(uint64_t seed, int64_t draws, const std::function<Tensor(int64_t draw)>& logits) {
  require(draws >= 1, "votes_of_draws: needs at least 1 draw, but got {}", draws);
  const KeptGenerator kept;
  std::vector<Tensor> all;
  for (int64_t draw = 0; draw < draws; ++draw) {
    torch::manual_seed(seed + kVerdictSeed + static_cast<uint64_t>(draw));
    all.push_back(logits(draw));
  }
  const auto stacked = at::stack(all);
  return {at::one_hot(stacked.argmax(-1), stacked.size(-1)).sum(0) + .5 * stacked.mean(0).softmax(-1), stacked};
}

}  // namespace hpm
