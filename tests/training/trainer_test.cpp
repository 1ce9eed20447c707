// The loop: batches, averages, optimiser, what the fast convolutions keep.
#include <thread>

#include "training/trainer_fixture.h"

namespace hpm {
namespace {

using namespace test;  // the fixture

// ---- averages -------------------------------------------------------------------------------------------------------

TEST(WeightAverage, FollowsItsFormulaByHand) {
  auto model = fresh_model();
  torch::NoGradGuard guard;
  const auto set = [&](double value) {
    for (auto& p : model.classifier.parameters()) p.fill_(value);
  };
  set(0);
  WeightAverage average(model, .5);
  set(1), average.update(model, /*follow=*/true);
  set(2), average.update(model, false);  // t = 0: d = 1/10: .1 + 1.8
  set(3), average.update(model, false);  // t = 1: d = 2/11
  EXPECT_NEAR(average.tensors()[0].second.flatten()[0].item<double>(), 2. / 11 * 1.9 + 9. / 11 * 3, 1e-6);
  EXPECT_EQ(average.steps(), 2);
  for (int i = 0; i < 20; ++i) average.update(model, false);
  set(4), average.update(model, false);  // d = decay
  EXPECT_NEAR(average.tensors()[0].second.flatten()[0].item<double>(), 3.5, 1e-5);
}

TEST(WeightAverage, TrainingEndsWithItAndWithStatisticsOfItsOwn) {
  const auto data = quarters(96);
  auto plain = objective();
  train(*plain, data, loop(2));
  auto averaged = objective();
  auto options = loop(2);
  options.average = {.decay = .9, .batches = 3};
  train(*averaged, data, options);
  EXPECT_FALSE(at::equal(averaged->model().classifier.weight(), plain->model().classifier.weight()));

  // The statistics are those of the averaged network on its batches: the mean over three batches of 32.
  auto& model = averaged->model();
  auto by_hand = std::make_unique<AdversarialTraining>(model, adversary(), 1);
  TrainingBatches batches(data, at::arange(96), 32, options.augment, {}, 4, options.seed);
  options.average.batches = 0;
  auto without = objective();
  train(*without, data, options);
  model.classifier.set_training(false);
  Tensor mean = at::zeros({6});
  for (int64_t i = 0; i < 3; ++i) {
    const auto x = without->adversarial(batches.get(1, i, at::kCPU));
    const auto state = model.classifier.state();
    const auto c = at::conv2d(x, state[0].second, state[1].second, {2, 2}, {1, 1});
    mean += c.mean({0, 2, 3}) / 3;
  }
  for (const auto& [name, tensor] : model.state())
    if (name == "1.running_mean") {
      EXPECT_TRUE(close(tensor, mean, 1e-5));
    }
}

/// HPM's loss needs the clean features of its own batch. Here the last batch is shorter than the others.
TEST(WeightAverage, StatisticsAreMeasuredBatchByBatch) {
  const auto data = quarters(80);
  const auto base = fresh_model();
  for (const auto context : {ContextKind::solo, ContextKind::joint}) {
    FinetuneOptions options{.head = "hpm", .fit_images = 48, .metric_steps = 5};
    options.training.context = context;
    options.adversary = adversary();
    options.loop = loop(1);
    options.loop.average = {.decay = .9, .batches = 3};
    const auto tuned = finetune(base, data, options);
    for (const auto& [name, tensor] : tuned.state()) EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
  }
  // Every loss is that of the batch whose adversary was asked last.
  struct Recorder : AdversarialTraining {
    Recorder() : AdversarialTraining(fresh_model(), test::adversary(), 1) {}
    Tensor adversarial(const TrainingBatch& batch) override {
      last = batch.index;
      return AdversarialTraining::adversarial(batch);
    }
    StepReport loss(const TrainingBatch& batch, const Tensor& x) override {
      EXPECT_TRUE(at::equal(batch.index, last));
      ++losses;
      return AdversarialTraining::loss(batch, x);
    }
    Tensor last;
    int64_t losses = 0;
  } recorder;
  TrainingBatches batches(data, at::arange(80), 32, {}, {}, 4, 1);
  reestimate_batch_norm(recorder, {batches.get(0, 0, at::kCPU), batches.get(0, 1, at::kCPU)});
  EXPECT_EQ(recorder.losses, 2);
}

TEST(WeightAverage, FrozenStatisticsStayThoseOfTheBase) {
  const auto data = quarters(96);
  AdversarialTraining pretraining(residual_model(), adversary(), 1);
  train(pretraining, data, loop(1));
  const auto base = pretraining.model().clone();
  for (const std::string head : {"hpm", "fc"})
    for (const int64_t held_out : {0, 16}) {  // with validation the average is measured and kept there already
      FinetuneOptions options{.head = head, .fit_images = 48, .metric_steps = 5};
      options.adversary = {.threat = adversary().threat, .steps = 1};
      options.loop = loop(1);
      options.loop.average.decay = .9;
      options.loop.validation = {.images = held_out, .steps = 2};
      ASSERT_EQ(options.adversary.batch_norm, "running") << "finetune's default";
      const auto tuned = finetune(base, data, options);
      std::map<std::string, Tensor> after;
      for (const auto& [name, tensor] : tuned.state()) after[name] = tensor;
      int64_t seen = 0;
      for (const auto& [name, tensor] : base.state())
        if (name.ends_with("running_mean") || name.ends_with("running_var")) {
          EXPECT_TRUE(close(after[name], tensor, 1e-6, 1e-5)) << head << ", " << name;
          ++seen;
        }
      EXPECT_EQ(seen, 14) << "two batch norms in each of three blocks, and one behind them";
      EXPECT_FALSE(at::equal(tuned.classifier.weight(), base.classifier.weight()));
    }
}

// ---- batches --------------------------------------------------------------------------------------------------------

TEST(TrainingBatches, EveryTrainingImageOncePerEpochAndNoHeldOutOne) {
  const auto data = quarters(50);
  const auto split = split_images(data.size(), 40, 9, 1);
  EXPECT_EQ(split.training.size(0), 31);
  EXPECT_LT(std::max(split.training.max().item<int64_t>(), split.held_out.max().item<int64_t>()), 40);
  TrainingBatches batches(data, split.training, 8, {}, {}, 4, 1);
  EXPECT_EQ(batches.steps(), 4);
  std::vector<Tensor> seen;
  for (int64_t s = 0; s < 4; ++s) seen.push_back(batches.get(0, s, at::kCPU).index);
  EXPECT_TRUE(at::equal(std::get<0>(at::cat(seen).sort()), split.training));
  EXPECT_FALSE(at::equal(batches.get(1, 0, at::kCPU).index, seen[0]));
}

TEST(TrainingBatches, ExtraImagesFillTheirShareInPassesOfTheirOwn) {
  const auto data = quarters(40);
  const auto extra = std::make_shared<const Dataset>(quarters(7, 8));
  TrainingBatches batches(data, at::arange(40), 8, {.crop = 0, .flip = false}, {extra, .25}, 4, 1);
  EXPECT_EQ(batches.steps(), 7) << "six of the training images a step";
  EXPECT_EQ(batches.images(), 40 + 14);
  std::map<int64_t, int64_t> times;
  for (int64_t s = 0; s < 7; ++s) {
    const auto batch = batches.get(0, s, at::kCPU);
    EXPECT_EQ(batch.x.size(0), batches.images_of(s));
    for (int64_t i = batch.x.size(0) - 2; i < batch.x.size(0); ++i) {
      const auto number = batch.index[i].item<int64_t>() - 40;
      ++times[number];
      EXPECT_TRUE(at::equal(batch.x[i], extra->images(number, number + 1)[0]));
    }
  }
  ASSERT_EQ(times.size(), 7u);
  for (const auto& [number, count] : times) EXPECT_EQ(count, 2) << number;
}

TEST(TrainingBatches, ExtraImagesThatDoNotFitAreSentences) {
  const auto data = quarters(40);
  auto other = std::make_shared<Dataset>(quarters(8));
  const auto make = [&](double share) { TrainingBatches(data, at::arange(40), 8, {}, {other, share}, 4, 1); };
  EXPECT_NE(message_of<UsageError>([&] { make(0); }).find("share"), std::string::npos);
  other->labels = other->labels + 3;
  EXPECT_NE(message_of<UsageError>([&] { make(.5); }).find("labels from 0 to 3"), std::string::npos);
  other->pixels = at::zeros({8, 3, 8, 8}, at::kByte);
  EXPECT_NE(message_of<UsageError>([&] { make(.5); }).find("[1,8,8]"), std::string::npos);
}

// ---- optimiser ------------------------------------------------------------------------------------------------------

TEST(LearningRate, OneCycleAndPiecewise) {
  const OptimizerOptions cycle{.lr = 1, .schedule = "one-cycle", .warmup = 50, .peak = .3};
  EXPECT_NEAR(learning_rate(cycle, 0, 100), .04, 1e-12);
  EXPECT_NEAR(learning_rate(cycle, 15, 100), .52, 1e-12);
  EXPECT_NEAR(learning_rate(cycle, 30, 100), 1, 1e-12);
  EXPECT_NEAR(learning_rate(cycle, 65, 100), .5, 1e-12);
  const OptimizerOptions steps{.lr = 1, .schedule = "piecewise", .warmup = 0, .milestones = {.2, .6}, .decay = .5};
  EXPECT_EQ(learning_rate(steps, 19, 100), 1);
  EXPECT_EQ(learning_rate(steps, 20, 100), .5);
  EXPECT_EQ(learning_rate(steps, 60, 100), .25);
}

TEST(Optimizer, ClipsMovesByNesterovAndDecaysByHand) {
  const auto moved = [](OptimizerOptions o, int steps) {
    auto w = torch::tensor({3., 4.}, at::kDouble).requires_grad_();
    o.lr = .1, o.schedule = "constant", o.warmup = 0;
    Optimizer optimizer(o, {w});
    for (int i = 0; i < steps; ++i) optimizer.step((w * torch::tensor({6., 8.}, at::kDouble)).sum(), i, 10);
    return w.detach();
  };
  const auto expect = [](const Tensor& w, double a, double b) {
    EXPECT_TRUE(close(w, torch::tensor({a, b}, at::kDouble), 1e-5)) << w;
  };
  // The gradient (6, 8) has norm 10.
  expect(moved({.optimizer = "sgd", .momentum = 0, .clip = 1}, 1), 3 - .06, 4 - .08);
  expect(moved({.optimizer = "sgd", .momentum = 0, .clip = 20}, 1), 3 - .6, 4 - .8);
  // v1 = g, w -= lr (g + m v1); v2 = m v1 + g, w -= lr (g + m v2).
  expect(moved({.optimizer = "sgd", .momentum = .5, .nesterov = true}, 2), 3 - .6 * (1.5 + 1.75),
         4 - .8 * (1.5 + 1.75));
  // Adam's first step has length lr whatever the gradient; AdamW decays apart from it, Adam through it.
  expect(moved({.optimizer = "adamw", .weight_decay = .5}, 1), 3 * (1 - .05) - .1, 4 * (1 - .05) - .1);
  expect(moved({.optimizer = "adam", .weight_decay = .5}, 1), 2.9, 3.9);
}

TEST(Optimizer, EveryMoveOfAParameterIsCounted) {
  for (const std::string name : {"sgd", "adam", "adamw"}) {
    auto w = torch::tensor({3., 4.}, at::kDouble).requires_grad_();
    Optimizer optimizer({.optimizer = name, .lr = .1, .warmup = 0}, {w});
    const auto before = w._version();
    optimizer.step(w.square().sum(), 0, 10);
    EXPECT_GT(w._version(), before) << name;
  }
}

TEST(Train, SaysHowLongItWasOutsideOfPasses) {
  struct Slow : ImageReader {
    explicit Slow(Tensor of) : pixels(std::move(of)) {}
    std::vector<int64_t> shape() const override { return pixels.sizes().slice(1).vec(); }
    Tensor read(const Tensor& index) const override {
      std::this_thread::sleep_for(std::chrono::milliseconds(40));
      return pixels.index_select(0, index);
    }
    Tensor pixels;
  };
  auto data = quarters(96);
  data.reader = std::make_shared<Slow>(data.pixels);
  std::vector<EpochReport> reports;
  auto o = objective();
  train(*o, data, loop(2), silent(), [&](const EpochReport& e) { reports.push_back(e); });
  ASSERT_EQ(reports.size(), 2u);
  for (const auto& e : reports) {
    EXPECT_GE(e.outside, 3 * .04) << "three batches were waited for";
    EXPECT_LT(e.outside, e.seconds) << "passes take time too";
  }
}

// ---- what the fast convolutions keep --------------------------------------------------------------------------------

/// Neither what LibTorch's SGD writes nor batch norm's running statistics are counted by PyTorch.
TEST(Train, AdversariesAttackTheWeightsAsTheyAreWhateverMovedThem) {
  const auto data = quarters(64);
  const TrainingBatch batch{data.images(0, 32), data.labels.slice(0, 0, 32), at::arange(32), 9};
  for (const std::string optimizer : {"sgd", "adam", "adamw"})
    for (const std::string precision : {"fast", "bfloat16"}) {
      auto passes = adversary();
      passes.precision = precision;
      AdversarialTraining trained(residual_model(), passes, 1);
      const auto before = trained.adversarial(batch);
      auto options = loop(1);
      options.optimizer = {.optimizer = optimizer, .lr = .01, .schedule = "constant", .warmup = 0};
      train(trained, data, options);
      AdversarialTraining fresh(trained.model().clone(), passes, 1);
      const auto images = trained.adversarial(batch);
      EXPECT_TRUE(at::equal(images, fresh.adversarial(batch))) << optimizer << ", " << precision;
      EXPECT_FALSE(at::equal(images, before)) << "training changed no gradient's sign: nothing is tested";
    }
}

TEST(Train, AdversariesSeeRunningStatisticsThatAPassMovedWithoutAStep) {
  const auto data = quarters(32);
  const TrainingBatch batch{data.images(0, 32), data.labels, at::arange(32), 0};
  for (const std::string precision : {"fast", "bfloat16"}) {
    auto passes = adversary();
    passes.precision = precision;
    AdversarialTraining moved(residual_model(), passes, 1);
    const auto before = moved.adversarial(batch);
    for (int i = 0; i < 5; ++i) moved.loss(batch, before);
    AdversarialTraining fresh(moved.model().clone(), passes, 1);
    const auto images = moved.adversarial(batch);
    EXPECT_TRUE(at::equal(images, fresh.adversarial(batch))) << precision;
    EXPECT_FALSE(at::equal(images, before)) << "the statistics changed no gradient's sign: nothing is tested";
  }
}

// ---- everything together --------------------------------------------------------------------------------------------

TEST(Finetune, EveryMethodWithWeightPerturbationAndAverageRunsForHpmAndItsControl) {
  const HpmModel base{make_classifier("conv6k3s2p1-relu-flatten-fc12-relu-fc4", 4, {1, 8, 8}, {}, 5), std::nullopt};
  for (const auto& row : training_methods())
    for (const std::string head : {"hpm", "fc"}) {
      FinetuneOptions options{.head = head, .fit_images = 48, .metric_steps = 5};
      options.adversary = {.threat = {Norm::linf, .03}, .steps = 2};
      options.method = {.objective = row.name, .label_smoothing = .1};
      options.awp.gamma = .01;
      options.loop = loop(1);
      options.loop.average.decay = .9;
      options.loop.augment.cutmix = .5;
      options.loop.validation = {.images = 16, .steps = 2};
      const auto tuned = finetune(base, quarters(80), options);
      EXPECT_EQ(tuned.head_kind(), head);
      for (const auto& [name, tensor] : tuned.state())
        EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << row.name << head << name;
      EXPECT_FALSE(at::equal(tuned.classifier.weight(), base.classifier.weight())) << row.name;
    }
}

struct AttachedWithABatch {
  HpmModel attached = fresh_model();
  FinetuneOptions options{.fit_images = 48, .metric_steps = 5};
  TrainingBatch batch;
};

/// A model with a fitted head, and the first 32 images of what it was fitted on.
AttachedWithABatch attached_with_a_batch(double eps) {
  const auto data = quarters(64);
  AttachedWithABatch all;
  all.options.adversary = {.threat = {Norm::linf, eps}, .steps = 2};
  all.options.loop = loop(0);
  attach_head(all.attached, data, all.options);
  all.batch = {data.images(0, 32), data.labels.slice(0, 0, 32), at::arange(32), 3};
  return all;
}

TEST(Finetune, GradAlignReachesHpmWithTheWeightThatTheControlGivesIt) {
  const auto given = attached_with_a_batch(.1);
  const auto of = [&](double weight) -> MethodOptions { return {.objective = "fgsm-rs", .grad_align = weight}; };
  const auto hpm = [&](double weight) {
    HpmFineTuning objective(given.attached.clone(), {}, given.options.adversary, 1, of(weight));
    return objective.loss(given.batch, objective.adversarial(given.batch)).loss.item<double>();
  };
  const auto control = [&](double weight) {
    AdversarialTraining objective({given.attached.classifier.clone(), std::nullopt}, given.options.adversary, 1,
                                  of(weight));
    return objective.loss(given.batch, objective.adversarial(given.batch)).loss.item<double>();
  };
  const double term = control(3) - control(0);
  EXPECT_GT(term, .01) << "the gradients are aligned: nothing is tested";
  EXPECT_NEAR(hpm(3) - hpm(0), term, 1e-4);
}

TEST(Finetune, PrototypesAndReportsAreThoseOfTheWeightsThatAPerturbationLeaves) {
  const auto given = attached_with_a_batch(.03);
  const auto step = [&](double gamma) {
    auto tuning =
        std::make_unique<HpmFineTuning>(given.attached.clone(), HpmTrainingOptions{}, given.options.adversary, 1);
    auto o = with_awp(std::move(tuning), {.gamma = gamma});
    const auto report = o->loss(given.batch, o->adversarial(given.batch));
    report.loss.backward();
    o->after_backward();
    o->after_step();
    return std::pair{report, o->model().head->means};
  };
  const auto [plain, means] = step(0);
  const auto [perturbed, theirs] = step(.1);
  EXPECT_TRUE(at::equal(theirs, means));
  EXPECT_FALSE(at::equal(means, given.attached.head->means)) << "the prototypes did not move: nothing is tested";
  EXPECT_FALSE(plain.loss_here.defined());
  EXPECT_NEAR(perturbed.loss_here.item<double>(), plain.loss.item<double>(), 1e-6);
  EXPECT_GT(perturbed.loss.item<double>(), plain.loss.item<double>()) << "the perturbation raises the loss";
  EXPECT_EQ(perturbed.correct_adversarial.item<int64_t>(), plain.correct_adversarial.item<int64_t>());
}

/// Of the convolutions that the fast ones stand in for, some have a batch norm behind them (resnet14: all) and some do
/// not.
TEST(Train, FastAndBfloatAdversariesAreNearlyTheExactOnes) {
  for (const std::string arch : {"wrn10_1", "resnet14"}) {
    const auto x = fill_rule(16 * 192, 4).view({16, 3, 8, 8}).to(at::kFloat);
    const TrainingBatch batch{x, at::arange(16).remainder(4), at::arange(16), 0};
    const auto found = [&](const std::string& precision) {
      AdversaryOptions options{.threat = {Norm::linf, .1}, .steps = 1, .batch_norm = "batch", .precision = precision};
      AdversarialTraining objective({make_classifier(arch, 4, {3, 8, 8}, {}, 5), std::nullopt}, options, 1);
      const auto images = objective.adversarial(batch);
      EXPECT_TRUE(objective.loss(batch, images).loss.isfinite().item<bool>());
      return images;
    };
    const auto exact = found("float32");
    const auto same = [&](const Tensor& images) { return images.sub(exact).abs().lt(1e-6).to(at::kFloat).mean(); };
    EXPECT_GT(same(found("fast")).item<double>(), .98) << "a sign differs only where the gradient is nearly 0";
    EXPECT_GT(same(found("bfloat16")).item<double>(), .8);
  }
}

/// The divergence that a step climbs vanishes at the image itself: its target is of the same precision.
TEST(Train, TradesClimbsTowardsATargetOfItsOwnPrecision) {
  const auto data = quarters(32);
  const TrainingBatch batch{data.images(0, 32), data.labels, at::arange(32), 0};
  auto options = adversary();
  options.steps = 1, options.precision = "bfloat16";
  const auto model = residual_model();
  const AdversaryPasses passes(model.classifier, options);
  const auto& network = passes.classifier();
  const RandomStreams streams(1);
  const auto start = start_near(batch, streams);
  const auto stepped = [&](const Tensor& target) {
    const auto leaf = start.detach().requires_grad_(), p = target.log_softmax(1);
    const auto loss = (p.exp() * (p - network.logits(leaf).log_softmax(1))).sum();
    const auto direction = torch::autograd::grad({loss}, {leaf})[0].sign();
    return project(start + options.step() * direction, batch.x, options.threat);
  };
  const auto searched = network.logits(batch.x.detach().requires_grad_()).detach(), exact = network.logits(batch.x);
  ClassifierVictim attacked(network);
  const auto images = make_method({.objective = "trades"})->search({attacked, &network}, batch, options, streams);
  EXPECT_TRUE(at::equal(images, stepped(searched)));
  EXPECT_FALSE(at::equal(images, stepped(exact))) << "the precisions agree: nothing is tested";
}

TEST(Train, BfloatAndFastPassesTrainNearlyTheSame) {
  const auto accuracy = [](const std::string& precision) {
    auto options = adversary();
    options.precision = precision;
    AdversarialTraining o(fresh_model(), options, 1);
    double last = 0;
    train(o, quarters(128), loop(12), silent(), [&](const EpochReport& e) { last = e.adversarial_accuracy; });
    for (const auto& [name, tensor] : o.model().state())
      EXPECT_NE(tensor.scalar_type(), at::kBFloat16) << name << ": weights and statistics stay float32";
    return last;
  };
  const double exact = accuracy("float32");
  EXPECT_GT(exact, 70);
  EXPECT_NEAR(accuracy("fast"), exact, 10);
  EXPECT_NEAR(accuracy("bfloat16"), exact, 15);
}

}  // namespace
}  // namespace hpm
