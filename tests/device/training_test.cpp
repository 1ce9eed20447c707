// Training on the emulated device: every objective, HPM fine-tuning in its contexts, and what surrounds them.
#include "device/measured.h"
#include "training/trainer_fixture.h"

namespace hpm::test {
namespace {

/// The largest relative difference of two models' tensors.
double apart(const HpmModel& a, const HpmModel& b) {
  double largest = 0;
  for (size_t i = 0; i < a.state().size(); ++i) {
    const auto x = a.state()[i].second.detach().cpu().to(at::kDouble),
               y = b.state()[i].second.detach().cpu().to(at::kDouble);
    largest = std::max(largest, ((x - y).abs().max() / x.abs().max().clamp_min(1e-3)).item<double>());
  }
  return largest;
}

HpmModel trained(HpmModel model, const MethodOptions& method, double awp, TrainOptions options,
                 AdversaryOptions adversary) {
  const auto objective = with_awp(std::make_unique<AdversarialTraining>(model, adversary, 1, method), {.gamma = awp});
  train(*objective, quarters(64), options);
  return objective->model();
}

TEST(DeviceTraining, EveryObjectiveEndsWithTheWeightsOfTheCpu) {
  auto options = loop(1);
  options.augment = {.crop = 1, .flip = true};
  for (const auto& row : training_methods())
    for (const double awp : {0., .005}) {
      const auto name = "train " + row.name + (awp > 0 ? " awp" : "");
      SCOPED_TRACE(name);
      const auto method = MethodOptions{.objective = row.name, .label_smoothing = .1};
      const auto expected = trained(fresh_model(), method, awp, options, adversary());
      const auto found = measured(
          name, [&](Monitor&) { return trained(on_device(fresh_model()), method, awp, options, adversary()); });
      EXPECT_EQ(found.classifier.device(), test_device());
      EXPECT_LT(apart(expected, found), 1e-2);
      EXPECT_GT(apart(expected, fresh_model()), 1e-2) << "nothing was learned, nothing is tested";
    }
}

TEST(DeviceTraining, AverageValidationAndMixedImagesFollowTheDevice) {
  auto options = loop(2);
  options.average = {.decay = .9, .batches = 2};
  options.validation.images = 16;
  options.augment.cutmix = .5;
  // No state is saved: LibTorch cannot serialise tensors of the device type that the emulated device has.
  const auto run = [&](HpmModel model) { return trained(std::move(model), {}, 0, options, adversary()); };
  const auto expected = run(fresh_model());
  const auto found = measured("train with average, validation and mixed images",
                              [&](Monitor&) { return run(on_device(fresh_model())); });
  EXPECT_EQ(found.classifier.device(), test_device());
  EXPECT_LT(apart(expected, found), 5e-2);
}

TEST(DeviceTraining, Bfloat16TrainsOnTheDevice) {
  auto reduced = adversary();
  reduced.precision = "bfloat16";
  const auto found = trained(on_device(fresh_model()), {}, 0, loop(1), reduced);
  for (const auto& [name, tensor] : found.state()) EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
}

TEST(DeviceTraining, HpmFineTuningFollowsTheDeviceInEveryContext) {
  FinetuneOptions options{.rank = 3, .fit_images = 48, .metric_steps = 20, .adversary = adversary()};
  options.loop = loop(1);
  const auto data = quarters(64);
  const auto x = data.images(0, 16);
  for (const auto context : {ContextKind::solo, ContextKind::joint, ContextKind::alone})
    for (const auto* against : {"hard", "ste", "fc"}) {
      if (context != ContextKind::solo && std::string(against) != "hard") continue;
      options.training.context = context, options.training.adversary = against;
      const auto name = "finetune " + to_string(context) + " against " + against;
      SCOPED_TRACE(name);
      const auto expected = finetune(fresh_model(), data, options);
      const auto found = measured(name, [&](Monitor&) { return finetune(on_device(fresh_model()), data, options); });
      EXPECT_EQ(found.head->means.device(), test_device());
      const auto logits = [&](const HpmModel& model) {
        torch::NoGradGuard guard;
        const auto out = model.run(x.to(model.classifier.device()));
        return prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, at::arange(16)).cpu();
      };
      EXPECT_TRUE(close(logits(found), logits(expected), 1e-2, 5e-2));
    }
}

}  // namespace
}  // namespace hpm::test
