#include "hpm/core/error.h"
#include "hpm/models/registry.h"
#include "hpm/training/adversarial_training.h"
#include "hpm/training/finetune.h"
#include "hpm/training/fit_accuracy.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::message_of;

/// Four classes of 8x8 images: a bright quarter, with noise.
Dataset quarters(int64_t n) {
  Dataset data{.name = "quarters", .split = "train", .class_names = {"a", "b", "c", "d"}};
  data.labels = at::arange(n).remainder(4);
  auto x = fill_rule(n * 64, 3).view({n, 1, 8, 8}) * .5;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = data.labels[i].item<int64_t>() / 2 * 4, column = data.labels[i].item<int64_t>() % 2 * 4;
    x[i][0].slice(0, row, row + 4).slice(1, column, column + 4) += .3;
  }
  data.pixels = (x * 255).clamp(0, 255).to(at::kByte);
  return data;
}

HpmModel fresh_model() {
  return {make_classifier("conv6k3s2p1-relu-flatten-fc12-relu-fc4", 4, {1, 8, 8}, {}, 5), std::nullopt};
}

TrainOptions loop(int64_t epochs) {
  TrainOptions options{.epochs = epochs, .batch = 32, .seed = 4};
  options.augment = {.crop = 1, .flip = false};
  options.optimizer = {.lr = 5e-3, .warmup = 2};
  return options;
}

AdversaryOptions adversary() { return {.threat = {Norm::linf, .03}, .steps = 2}; }

std::vector<Tensor> tensors_of(const HpmModel& model) {
  std::vector<Tensor> all;
  for (const auto& [name, tensor] : model.state()) all.push_back(tensor.detach().clone());
  return all;
}

TEST(LearningRate, WarmsUpAndFollowsItsSchedule) {
  const OptimizerOptions cosine{.lr = 1, .schedule = "cosine", .warmup = 4};
  EXPECT_NEAR(learning_rate(cosine, 0, 100), .2, 1e-12);
  EXPECT_NEAR(learning_rate(cosine, 50, 100), .5, 1e-12);
  EXPECT_LT(learning_rate(cosine, 99, 100), .001);
  const OptimizerOptions step{.lr = 1, .schedule = "step", .warmup = 0};
  EXPECT_EQ(learning_rate(step, 49, 100), 1);
  EXPECT_EQ(learning_rate(step, 60, 100), .1);
  EXPECT_EQ(learning_rate(step, 80, 100), .01);
}

TEST(Train, RaisesTheAdversarialAccuracy) {
  auto model = fresh_model();
  AdversarialTraining objective(model, adversary(), 1);
  std::vector<EpochReport> epochs;
  train(objective, quarters(256), loop(24), silent(), [&](const EpochReport& e) { epochs.push_back(e); });
  ASSERT_EQ(epochs.size(), 24u);
  EXPECT_GT(epochs.back().adversarial_accuracy, 80);
  EXPECT_GT(epochs.back().adversarial_accuracy, epochs.front().adversarial_accuracy + 10);
}

/// Interrupted after one epoch of three and resumed: bit for bit the run that was not.
template <class Make>
void expect_resume_continues_exactly(Make make) {
  test::TemporaryFolder folder;
  const auto data = quarters(96);
  auto whole = make();
  auto options = loop(3);
  options.state_file = (folder / "whole.safetensors").string();
  train(*whole, data, options);

  options.state_file = (folder / "state.safetensors").string();
  auto first = make();
  struct Stop {};
  EXPECT_THROW(train(*first, data, options, silent(), [](const EpochReport&) { throw Stop{}; }), Stop);
  auto second = make();
  options.resume = true;
  train(*second, data, options);
  const auto a = tensors_of(whole->model()), b = tensors_of(second->model());
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
  EXPECT_FALSE(at::equal(a[0], tensors_of(first->model())[0]))
      << "the first epoch already gave the end: nothing is tested";

  options.settings["lr"] = {"0.1", false};
  auto third = make();
  EXPECT_NE(message_of<Error>([&] { train(*third, data, options); }).find("other settings"), std::string::npos);
}

TEST(Train, ResumeContinuesBitForBit) {
  expect_resume_continues_exactly([] { return std::make_unique<AdversarialTraining>(fresh_model(), adversary(), 1); });
}

TEST(Train, ResumeOfHpmFineTuningContinuesBitForBit) {
  FinetuneOptions options{.fit_images = 64, .metric_steps = 10};
  options.adversary = adversary();
  options.loop = loop(0);
  HpmModel attached = fresh_model();
  attach_head(attached, quarters(96), options);
  expect_resume_continues_exactly(
      [&] { return std::make_unique<HpmFineTuning>(attached.clone(), HpmTrainingOptions{}, adversary(), 1); });
}

TEST(Train, NonFiniteLossIsAnErrorThatNamesTheEpoch) {
  auto options = loop(2);
  options.optimizer = {.optimizer = "sgd", .lr = 1e30, .schedule = "constant", .warmup = 0};
  AdversarialTraining objective(fresh_model(), adversary(), 1);
  EXPECT_NE(message_of<Error>([&] { train(objective, quarters(128), options); }).find("epoch"), std::string::npos);
}

TEST(Metric, LdaWhitensWithinClassesAndSeparatesThem) {
  torch::manual_seed(1);
  const auto y = at::arange(600).remainder(3);
  auto z = at::randn({600, 6}, at::kDouble) * at::arange(1, 7, at::kDouble);
  z.select(1, 0) += z.select(1, 5);
  z.select(1, 2) += y * 4.;
  const auto p = lda_directions({z, y}, 3, 2);
  const auto h = z.matmul(p.t());
  Tensor within = at::zeros({2, 2}, at::kDouble);
  for (int64_t k = 0; k < 3; ++k) {
    const auto part = h.index({y.eq(k)});
    const auto centred = part - part.mean(0, true);
    within += centred.t().matmul(centred) / 600;
  }
  EXPECT_TRUE(close(within, at::eye(2, at::kDouble), .01));
  const auto means = at::stack({h.index({y.eq(0)}).mean(0), h.index({y.eq(2)}).mean(0)});
  EXPECT_GT((means[0] - means[1]).norm().item<double>(), 2);
}

TEST(Metric, FittingLowersTheStableHeadsCrossEntropy) {
  const auto y = at::arange(400).remainder(4);
  torch::manual_seed(2);
  const Tensor z = at::randn({400, 10}) + 1.5 * at::one_hot(y, 10).to(at::kFloat);  // the class shows in the first four
  HpmHead head{.kind = MetricKind::learned};
  head.means = class_means(head, {z, y}, 4);
  const auto loss = [&] { return at::cross_entropy_loss(stable_logits(head, head.embed(z)), y).item<double>(); };
  fit_metric(head, {z, y}, {.steps = 0}, 0);
  const double before = loss();
  fit_metric(head, {z, y}, {.steps = 150, .batch = 200}, 0);
  EXPECT_LT(loss(), before);
  EXPECT_EQ(head.metric.size(0), 3) << "R = K - 1";
  EXPECT_FALSE(head.metric.requires_grad());
}

TEST(Finetune, EpochsZeroAttachesTheHeadAndMovesNothingElse) {
  const auto base = fresh_model();
  FinetuneOptions options{.fit_images = 96, .metric_steps = 20};
  options.adversary = adversary();
  options.loop = loop(0);
  const auto tuned = finetune(base, quarters(128), options);
  ASSERT_TRUE(tuned.head.has_value());
  for (size_t i = 0; i < base.classifier.state().size(); ++i)
    EXPECT_TRUE(at::equal(base.classifier.state()[i].second, tuned.classifier.state()[i].second));
  EXPECT_TRUE(tuned.head->calibration_sums.defined());
  EXPECT_FLOAT_EQ(tuned.head->calibration_counts.sum().item<float>(), 2 * 96) << "clean and adversarial, each once";
}

TEST(Finetune, SaysTheHeadsAccuracyBesideFcsOnImagesThatTheFitHasNotSeen) {
  struct Lines : Monitor {
    void say(const std::string& line) override { said += line + "\n"; }
    void warn(const std::string& line) override { warned += line + "\n"; }
    std::string said, warned;
  } lines;
  FinetuneOptions options{.fit_images = 96, .metric_steps = 20};
  options.adversary = adversary();
  options.loop = loop(0);
  const auto data = quarters(128);
  const auto tuned = finetune(fresh_model(), data, options, lines);
  EXPECT_NE(lines.said.find("32 training images that the fit did not see"), std::string::npos) << lines.said;
  const auto needed = fit_images_needed(*tuned.head);
  EXPECT_EQ(needed, 300 * 4) << "four classes, twelve features";
  EXPECT_NE(lines.warned.find("fitted on 96 images; fewer than 1200"), std::string::npos) << lines.warned;
  const auto accuracy = head_accuracy(tuned, data, options);
  const auto index = fit_order(data, options).slice(0, 96);
  const auto out = tuned.run(data.images(index));
  const auto right =
      reference_logits(*tuned.head, tuned.head->embed(out.features)).argmax(1).eq(data.labels.index_select(0, index));
  EXPECT_NEAR(accuracy.head, 100. * right.sum().item<double>() / 32, 1e-9);
  options.fit_images = 128;
  EXPECT_FALSE(head_accuracy(tuned, data, options).unseen);
  options.metric = "none";
  EXPECT_EQ(fit_images_needed(*finetune(fresh_model(), data, options).head), 0);
}

TEST(Finetune, MovesBackboneMetricTauAndMeansAndLeavesTheBaseAlone) {
  const auto base = fresh_model();
  const auto before = tensors_of(base);
  FinetuneOptions options{.fit_images = 96, .metric_steps = 20};
  options.adversary = adversary();
  options.loop = loop(0);
  const auto attached = finetune(base, quarters(128), options);
  options.loop = loop(1);
  const auto tuned = finetune(base, quarters(128), options);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], base.classifier.state()[i].second));
  EXPECT_FALSE(at::equal(tuned.classifier.weight(), base.classifier.weight()));
  EXPECT_FALSE(at::equal(tuned.head->metric, attached.head->metric));
  EXPECT_FALSE(at::equal(tuned.head->means, attached.head->means));
  EXPECT_FALSE(at::equal(tuned.head->log_tau, attached.head->log_tau));
  EXPECT_FALSE(tuned.classifier.weight().requires_grad());
}

TEST(Finetune, EveryHeadMetricAndTrainingContextRuns) {
  for (const std::string head : {"hpm", "l2", "fc"})
    for (const std::string metric : {"none", "l2norm", "learned"})
      for (auto context : {ContextKind::solo, ContextKind::joint, ContextKind::alone})
        for (const std::string by : {"hard", "ste", "fc"}) {
          if (head == "fc" && (metric != "none" || by != "fc" || context != ContextKind::solo)) continue;
          FinetuneOptions options{.head = head, .metric = metric, .lambda = .5, .fit_images = 48, .metric_steps = 5};
          options.training = {context, by, .5};
          options.adversary = adversary();
          options.loop = loop(1);
          const auto tuned = finetune(fresh_model(), quarters(64), options);
          EXPECT_EQ(tuned.head_kind(), head);
          for (const auto& [name, tensor] : tuned.state())
            EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << head << metric << name;
        }
}

}  // namespace
}  // namespace hpm
