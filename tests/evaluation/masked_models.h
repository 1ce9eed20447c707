// Models that hide their gradients, or that attacks on single images do not judge: each is a network of its own around
// an honest one.
#pragma once
#include "hpm/attacks/images.h"
#include "hpm/attacks/losses.h"
#include "hpm/models/classifier.h"
#include "hpm/models/network.h"
#include "hpm/models/registry.h"

namespace hpm::test {

/// A black box for everything but its gradient: logits from the images in any way.
class Around : public Network {
 public:
  using Function = std::function<Tensor(const Tensor&)>;
  explicit Around(Function logits) : logits_(std::move(logits)) {}
  NetworkOutput run(const Tensor& x) override { return {{}, logits_(x)}; }
  Tensor features(const Tensor&) override { return {}; }
  torch::nn::Linear head() override { return nullptr; }
  std::shared_ptr<Network> fresh() const override { return std::make_shared<Around>(logits_); }

 private:
  Function logits_;
};

inline Classifier around(const Classifier& honest, const std::string& name, Around::Function logits) {
  return {std::make_shared<Around>(std::move(logits)), {name, honest.classes(), honest.info().input_shape, {}}};
}

inline Classifier scaled_logits(const Classifier& c, double factor) {
  return around(c, "scaled", [c, factor](const Tensor& x) { return c.logits(x) * factor; });
}
/// The input is rounded to `levels` steps.
inline Classifier quantised_input(const Classifier& c, double levels) {
  return around(c, "quantised", [c, levels](const Tensor& x) { return c.logits((x * levels).round() / levels); });
}
inline Classifier noisy_logits(const Classifier& c, double share) {
  return around(c, "noisy", [c, share](const Tensor& x) {
    const auto logits = c.logits(x);
    return logits + share * logit_spread(logits.detach()).unsqueeze(1) * at::randn_like(logits);
  });
}
inline Classifier probabilities(const Classifier& c, double factor = 1) {
  return around(c, "probabilities", [c, factor](const Tensor& x) { return (factor * c.logits(x)).softmax(1); });
}
/// The logits depend on the mean of the batch.
inline Classifier coupled(const Classifier& c, double share) {
  return around(c, "coupled", [c, share](const Tensor& x) {
    const auto logits = c.logits(x);
    return logits - share * logits.mean(0, true);
  });
}

/// Of each row the largest share of values; the others are 0 (k-winners-take-all, arXiv:1905.10510).
inline Tensor winners(const Tensor& values, double share) {
  const auto flat = values.flatten(1);
  const auto k = std::max<int64_t>(static_cast<int64_t>(share * static_cast<double>(flat.size(1))), 1);
  const auto least = std::get<0>(flat.detach().topk(k, 1)).slice(1, k - 1, k);
  return (flat * flat.ge(least)).view_as(values);
}

/// A network of 3 convolutions with winners in place of ReLU; `state`: weights, or none for random ones.
inline Classifier winners_take_all(const Classifier& c, int64_t size, double share, int64_t seed = 3) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
  const auto w1 = at::randn({24, 3, 3, 3}, generator, at::kFloat) / 3,
             w2 = at::randn({48, 24, 3, 3}, generator, at::kFloat) / 8;
  const auto out = at::randn({c.classes(), 48 * (size / 4) * (size / 4)}, generator, at::kFloat) / 10;
  return around(c, "winners", [=](const Tensor& x) {
    auto h = winners(at::conv2d(x - .5, w1, {}, 2, 1), share);
    h = winners(at::conv2d(h, w2, {}, 2, 1), share);
    return at::linear(h.flatten(1), out);
  });
}

/// The classifier on the largest share of each image's differences from its mean: which pixels win changes in jumps.
inline Classifier winning_pixels(const Classifier& c, double share) {
  return around(c, "winning pixels", [c, share](const Tensor& x) {
    const auto mean = x.mean({1, 2, 3}, true).detach();
    const auto apart = x - mean, size = apart.abs().flatten(1).detach();
    const auto k = std::max<int64_t>(static_cast<int64_t>(share * static_cast<double>(size.size(1))), 1);
    const auto least = std::get<0>(size.topk(k, 1)).slice(1, k - 1, k);
    return c.logits(mean + apart * size.ge(least).view_as(x));
  });
}

/// The images with the model's own predictions as labels.
inline Images labelled_by(const Classifier& model, Images images) {
  images.y = model.logits(images.x).argmax(1);
  return images;
}

}  // namespace hpm::test
