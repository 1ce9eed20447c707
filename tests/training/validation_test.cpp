// Validation on held-out images, and what it notices.
#include "training/trainer_fixture.h"

namespace hpm {
namespace {

using namespace test;  // the fixture

TEST(Validation, CatastrophicOverfittingIsAFallOfPgdWhileFgsmRises) {
  const Validation best{80, 55, 45, 500};
  const auto sign = [&](const Validation& now) { return catastrophic_overfitting(best, now, 50); };
  EXPECT_EQ(sign({85, 90, 12, 500}), Overfitting::fall);
  EXPECT_EQ(sign({85, 50, 22, 500}), Overfitting::none) << "both fell: training is only worse";
  EXPECT_EQ(sign({85, 60, 40, 500}), Overfitting::none) << "within three standard errors of 3.1 points";
  EXPECT_EQ(sign({85, 60, 47, 500}), Overfitting::none);
}

TEST(Validation, CatastrophicOverfittingShowsWithoutAnEarlierBest) {
  const auto sign = [](const Validation& now, double training) {
    return catastrophic_overfitting(std::nullopt, now, training);
  };
  EXPECT_EQ(sign({85, 90, 2, 500}, 30), Overfitting::fgsm);
  EXPECT_EQ(sign({85, 30, 2, 500}, 88), Overfitting::training) << "one step of training's is not FGSM's";
  // What is honest: accuracies in percent of networks that were measured (clean, FGSM, PGD-20).
  for (const auto& [clean, fgsm, pgd] : {std::tuple{62.7, 39.3, 37.7},  // ResNet-14 at 8/255, trained there
                                         {62.7, 23.7, 14.3},            // at 16/255
                                         {59., 10., 2.3},               // a small network, far beyond its radius
                                         {91.3, 61.7, 54.3},            // an undefended ResNet-20 at .5/255
                                         {91.3, 44., 18.3},             // 1/255
                                         {91.3, 28.7, .3},              // 2/255
                                         {91.3, 14.3, 0.},              // 8/255
                                         {10., 10., 10.},               // a constant prediction
                                         {15., 12., 10.}})              // the first steps
    EXPECT_EQ(sign({clean, fgsm, pgd, 1000}, std::min(fgsm, 20.)), Overfitting::none) << clean << " " << fgsm;
  EXPECT_EQ(sign({55, 24, 18, 1000}, 92), Overfitting::none) << "robust overfitting";
  EXPECT_EQ(sign({60, 50, 10, 8}, 70), Overfitting::none) << "eight images tell nothing";
}

/// Stands for networks whose robustness is known: attack `k` of the k-th validation. `honest`: every second image is
/// right, whatever happens to it; else each is right as it is and wrong elsewhere, and where `masked`, its gradient is
/// 0.
class KnownRobustness : public AdversarialTraining {
 public:
  struct Epoch {
    bool honest, masked;
  };
  KnownRobustness(const Dataset& data, std::vector<Epoch> epochs, bool right)
      : AdversarialTraining(fresh_model(), test::adversary(), 1),
        data_(data),
        epochs_(std::move(epochs)),
        right_(right) {}
  StepReport loss(const TrainingBatch& batch, const Tensor& x) override {
    auto report = AdversarialTraining::loss(batch, x);
    report.correct_adversarial = torch::tensor(right_ ? batch.x.size(0) : int64_t{0}, at::kLong);
    return report;
  }
  std::vector<std::unique_ptr<AttackModel>> attacked() override {
    struct Model : AttackModel {
      Model(const Dataset& of, Epoch as) : data(of), epoch(as) {}
      Answer ask(const Query& q, const Loss* loss) override {
        const auto even = q.index.remainder(2).eq(0), clean = q.x.eq(data.images(q.index)).flatten(1).all(1);
        const auto is_right = epoch.honest ? even : clean;
        const auto y = data.labels.index_select(0, q.index);
        Answer answer;
        answer.target_logits = at::one_hot(at::where(is_right, y, (y + 1).remainder(4)), 4).to(at::kFloat);
        if (!loss) return answer;
        answer.loss = at::zeros({q.x.size(0)});
        answer.gradient = epoch.masked ? at::zeros_like(q.x) : at::ones_like(q.x);
        return answer;
      }
      int64_t classes() const override { return 4; }
      Passes passes() const override { return {}; }
      const Dataset& data;
      Epoch epoch;
    };
    std::vector<std::unique_ptr<AttackModel>> all;
    all.push_back(std::make_unique<Model>(data_, epochs_.at(next_++)));
    return all;
  }

 private:
  const Dataset& data_;
  std::vector<Epoch> epochs_;
  bool right_;
  size_t next_ = 0;
};

TEST(Validation, CatastrophicOverfittingIsWarnedOfWhereTrainingMeetsIt) {
  const auto data = quarters(128);
  const auto warned = [&](std::vector<KnownRobustness::Epoch> epochs, bool right) {
    auto options = loop(static_cast<int64_t>(epochs.size()));
    options.validation = {.images = 64, .steps = 3};
    KnownRobustness known(data, std::move(epochs), right);
    Stopper lines(1000);
    std::vector<bool> signs;
    train(known, data, options, lines, [&](const EpochReport& e) { signs.push_back(e.overfitting); });
    return std::pair{lines.warnings, signs};
  };
  const KnownRobustness::Epoch honest{true, false}, masked{false, true}, open{false, false};
  const auto [fall, at_fall] = warned({honest, masked}, false);
  EXPECT_NE(fall.find("in epoch 2: held-out PGD-3 accuracy fell from "), std::string::npos) << fall;
  EXPECT_NE(fall.find(" to 0.0 % while FGSM's rose to 100.0 %"), std::string::npos) << fall;
  EXPECT_EQ(at_fall, (std::vector<bool>{false, true}));
  const auto [early, at_once] = warned({masked}, false);
  EXPECT_NE(early.find("in epoch 1: held-out PGD-3 accuracy is 0.0 %, FGSM's 100.0 % (clean 100.0 %)"),
            std::string::npos)
      << early;
  EXPECT_EQ(at_once, (std::vector<bool>{true}));
  const auto [blind, by_training] = warned({open}, true);
  EXPECT_NE(blind.find("held-out PGD-3 accuracy is 0.0 %, that on training's own adversarial images 100.0 %"),
            std::string::npos)
      << blind;
  EXPECT_NE(blind.find("--attack-steps"), std::string::npos) << "what to do";
  EXPECT_EQ(warned({honest, honest}, true).first, "");
  EXPECT_EQ(warned({open}, false).first, "") << "neither attack is met: an undefended network";
}

TEST(Validation, KeepsTheBestWeightsAndStopsWithoutABetterOne) {
  const auto data = quarters(128);
  auto options = loop(12);
  // So high a rate after the first epochs that later ones are no better.
  options.optimizer = {.optimizer = "sgd", .lr = 3, .schedule = "linear", .warmup = 60};
  options.validation = {.images = 64, .steps = 3, .patience = 2};
  std::vector<EpochReport> reports;
  std::vector<Tensor> best;
  options.on_best = [&](const HpmModel& model, const EpochReport&) { best = tensors_of(model); };
  auto o = objective();
  train(*o, data, options, silent(), [&](const EpochReport& e) { reports.push_back(e); });
  ASSERT_GE(reports.size(), 3u);
  ASSERT_LT(reports.size(), 12u) << "nothing stopped it";
  double highest = -1;
  size_t best_at = 0;
  for (size_t i = 0; i < reports.size(); ++i) {
    ASSERT_TRUE(reports[i].validation);
    EXPECT_EQ(reports[i].best, reports[i].validation->pgd > highest);
    if (reports[i].best) highest = reports[i].validation->pgd, best_at = i;
  }
  EXPECT_EQ(best_at + 3, reports.size());
  for (size_t i = 0; i < best.size(); ++i) EXPECT_TRUE(at::equal(best[i], o->model().state()[i].second));
}

TEST(Validation, APartThatLeavesNothingToTrainOnIsASentence) {
  auto o = objective();
  auto options = loop(1);
  options.validation.images = 64;
  const auto message = message_of<UsageError>([&] { train(*o, quarters(64), options); });
  EXPECT_NE(message.find("64"), std::string::npos) << message;
}

TEST(Validation, AttacksTheWeightsAsTheyAre) {
  const auto data = quarters(96);
  const auto held_out = at::arange(64, 96);
  AdversarialTraining trained(residual_model(), adversary(), 1);
  const auto attacked = [&](Objective& o) {
    HeldOut seen;
    validate(o, data, held_out, adversary().threat, {.images = 32, .steps = 2}, 4, &seen);
    return seen;
  };
  const auto before = attacked(trained);
  auto options = loop(1);
  options.images = 64;
  options.optimizer = {.optimizer = "sgd", .lr = .01, .schedule = "constant", .warmup = 0};
  train(trained, data, options);
  AdversarialTraining fresh(trained.model().clone(), adversary(), 1);
  const auto now = attacked(trained), expected = attacked(fresh);
  EXPECT_TRUE(at::equal(now.adversarial, expected.adversarial));
  EXPECT_TRUE(at::equal(now.adversarial_margins, expected.adversarial_margins));
  EXPECT_FALSE(at::equal(now.adversarial, before.adversarial)) << "training changed nothing: nothing is tested";
}

}  // namespace
}  // namespace hpm
