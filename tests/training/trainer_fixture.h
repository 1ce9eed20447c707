// A small data set, model and loop for the tests of training.
#pragma once
#include "hpm/training/trainer.h"

#include "hpm/core/error.h"
#include "hpm/io/tensors.h"
#include "hpm/models/registry.h"
#include "hpm/training/adversarial_training.h"
#include "hpm/training/finetune.h"
#include "support/support.h"

namespace hpm::test {

/// Four classes of 8x8 images: a bright quarter, with noise.
inline Dataset quarters(int64_t n, int64_t seed = 3) {
  Dataset data{.name = "quarters", .split = "train", .class_names = {"a", "b", "c", "d"}};
  data.labels = at::arange(n).remainder(4);
  auto x = fill_rule(n * 64, seed).view({n, 1, 8, 8}) * .5;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = data.labels[i].item<int64_t>() / 2 * 4, column = data.labels[i].item<int64_t>() % 2 * 4;
    x[i][0].slice(0, row, row + 4).slice(1, column, column + 4) += .3;
  }
  data.pixels = (x * 255).clamp(0, 255).to(at::kByte);
  return data;
}

inline HpmModel fresh_model() {
  return {make_classifier("conv6k3s2p1-bn-relu-flatten-fc12-relu-fc4", 4, {1, 8, 8}, {}, 5), std::nullopt};
}

/// A network whose convolutions the fast ones stand in for, with batch norm behind some of them.
inline HpmModel residual_model() { return {make_classifier("wrn10_1", 4, {1, 8, 8}, {}, 5), std::nullopt}; }

inline AdversaryOptions adversary() { return {.threat = {Norm::linf, .03}, .steps = 2, .batch_norm = "batch"}; }

inline std::unique_ptr<Objective> objective(const MethodOptions& method = {}, double awp = 0) {
  return with_awp(std::make_unique<AdversarialTraining>(fresh_model(), adversary(), 1, method), {.gamma = awp});
}

inline TrainOptions loop(int64_t epochs) {
  TrainOptions options{.epochs = epochs, .batch = 32, .seed = 4};
  options.augment = {.crop = 1, .flip = false};
  options.optimizer = {.lr = 5e-3, .warmup = 2};
  options.threat = adversary().threat;
  return options;
}

inline std::vector<Tensor> tensors_of(const HpmModel& model) {
  std::vector<Tensor> all;
  for (const auto& [name, tensor] : model.state()) all.push_back(tensor.detach().clone());
  return all;
}

inline void expect_equal(const HpmModel& a, const HpmModel& b) {
  for (size_t i = 0; i < a.state().size(); ++i)
    EXPECT_TRUE(at::equal(a.state()[i].second, b.state()[i].second)) << a.state()[i].first;
}

/// Interrupts after so many steps; keeps warnings.
class Stopper : public Monitor {
 public:
  explicit Stopper(int64_t steps) : left_(steps) {}
  void step(int64_t, const std::string&) override {
    if (--left_ == 0) throw Interrupted("enough");
  }
  void warn(const std::string& line) override { warnings += line + "\n"; }
  std::string warnings;

 private:
  int64_t left_;
};

}  // namespace hpm::test
