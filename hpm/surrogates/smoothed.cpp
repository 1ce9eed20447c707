#include "hpm/surrogates/smoothed.h"

#include "hpm/core/error.h"
#include "hpm/core/random.h"
#include "hpm/core/transfer.h"

namespace hpm {

Surrogate smoothed_surrogate(std::function<Tensor(const Tensor& x)> logits, const SmoothedOptions& options) {
  require(options.sigma > 0 && options.samples >= 1,
          "smoothed_surrogate: needs a sigma over 0 and at least 1 sample, but got {} and {}", options.sigma,
          options.samples);
  Surrogate smoothed{
      .name = "smoothed",
      .summary = fmt::format("gradient averaged over {} copies with noise of {:.3g}", options.samples, options.sigma)};
  smoothed.logits = [logits = std::move(logits), options](const SurrogateInput& in) {
    const RandomStreams streams(options.seed);
    Tensor sum;
    for (int64_t i = 0; i < options.samples; ++i) {
      const auto noise = uploaded(streams.normal(in.index, {"smoothed", i}, in.x.sizes().slice(1)), in.x.device());
      const auto one = logits(in.x + options.sigma * noise);
      sum = sum.defined() ? sum + one : one;
    }
    return sum / static_cast<double>(options.samples);
  };
  smoothed.through_network = false;
  smoothed.own_passes = smoothed.averages = options.samples;
  smoothed.only_named = true;
  return smoothed;
}

}  // namespace hpm
