#include "hpm/surrogates/region.h"

namespace hpm {

Tensor region_objective(const HpmSurrogateInput& input, const Loss& loss) {
  constexpr double k = .02;
  const auto onehot = at::one_hot(loss.targets, input.head.classes()).to(input.o.scalar_type());
  const auto logits = context_logits(input.head, input.context, input.head.embed(input.z),
                                     {onehot, onehot, Assignment::hard}, input.index);
  return -at::relu(k - margin(input.o, loss.targets) / input.scale_o) -
         at::relu(k + margin(logits, loss.labels) / input.scale_l);
}

}  // namespace hpm
