#include "hpm/evaluation/msa/collusion.h"

#include "evaluation/msa_fixture.h"
#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/defences/function_defence.h"

namespace hpm {
namespace {

using test::close;
using test::msa;
using test::tiny_images;
using test::tiny_model;

class Collusion : public testing::Test {
 protected:
  Collusion() {
    const auto out = model.run(x);
    z = out.features, o = out.logits;
  }
  Tensor joint(const Tensor& images) const {
    const auto out = model.run(images);
    return prediction_logits(*model.head, {ContextKind::joint}, out.features, out.logits, index);
  }
  VictimModel victim_model(const Tensor& rows, int64_t victim, const std::string& surrogate) {
    return {{*defence, 0, defence->surrogates(0, {.names = {surrogate}}).front(), {x, index}, {z, o}, rows}, victim};
  }
  HpmModel model = tiny_model(.4);
  Tensor x = tiny_images(9, 3), z, o, index = at::arange(9);
  std::unique_ptr<Defence> defence =
      test::in_context(model, "joint", Images{x, at::zeros({9}, at::kLong), index}, 9, 0);
};

TEST_F(Collusion, TheVictimIsJudgedInTheWholeBatchWithTheAttackersRowsReplaced) {
  const auto rows = torch::tensor({4, 7, 1}, at::kLong);
  auto attacked = victim_model(rows, 4, "ste");
  const auto moved = (x.index_select(0, rows) + .1 * tiny_images(3, 9)).clamp(0, 1);
  const auto expected = joint(x.index_copy(0, rows, moved))[4];
  const auto answer = attacked.ask({moved, rows}, nullptr);
  ASSERT_EQ(answer.target_logits.size(0), 3);
  for (int64_t row = 0; row < 3; ++row) EXPECT_TRUE(close(answer.target_logits[row], expected, 1e-12, 0));
}

TEST_F(Collusion, NeighboursGradientIsTheVictimsAndAgreesWithFiniteDifferences) {
  const auto rows = torch::tensor({0, 5}, at::kLong);  // the victim, 2, is not the attacker's
  auto attacked = victim_model(rows, 2, "hard");
  const auto start = x.index_select(0, rows);
  const Loss loss{LossKind::ce, torch::tensor({1, 1}, at::kLong), {}};
  const auto answer = attacked.ask({start, rows}, &loss);
  ASSERT_TRUE(answer.gradient.abs().max().item<double>() > 0) << "neighbours move the victim's prototypes";
  for (int64_t row : {0, 1})
    for (int64_t place : {3, 77, 150}) {
      double numeric = 0;
      for (double sign : {1., -1.}) {
        auto shifted = start.clone();
        shifted.view({2, -1})[row][place] += sign * 1e-6;
        numeric += sign * attacked.ask({shifted, rows}, &loss).loss.sum().item<double>() / 2e-6;
      }
      EXPECT_NEAR(answer.gradient.view({2, -1})[row][place].item<double>(), numeric, 1e-5 * (1 + std::abs(numeric)));
    }
}

TEST_F(Collusion, WithoutColludersTheVictimIsTheAttackerOfTheContextSolo) {
  const auto company = std::make_shared<Company>(*model.head, index, z, o, 9, 0);
  const auto rows = torch::tensor({6}, at::kLong);
  auto attacked = victim_model(rows, 6, "ste");
  for (int64_t t = 0; t < 4; ++t) {
    const auto moved = tiny_images(1, 20 + t);
    const auto out = model.run(moved);
    const auto solo = prediction_logits(*model.head, {ContextKind::solo, company}, out.features, out.logits, rows);
    EXPECT_TRUE(close(attacked.ask({moved, rows}, nullptr).target_logits, solo, 1e-9, 1e-9));
  }
}

/// Notes by which numbers it is asked.
class Numbered : public FunctionDefence {
 public:
  using FunctionDefence::FunctionDefence;
  Tensor predict(const Output& pass, const Tensor& index, size_t target) override {
    asked = index;
    return FunctionDefence::predict(pass, index, target);
  }
  Tensor asked;
};

TEST(Crowds, AVictimsBatchIsAskedByItsImagesNumbersAndShownWhole) {
  const auto grey = (.1 * at::arange(6, at::kDouble)).view({6, 1, 1, 1}).expand({6, 1, 2, 2}).contiguous();
  const Images images{grey, at::zeros({6}, at::kLong), at::arange(70, 76)};
  const auto logits = [](const Tensor& x) {
    const auto means = x.flatten(1).mean(1);
    return at::stack({at::zeros_like(means), means - means.mean()}, 1);
  };
  Numbered defence({.logits = logits, .classes = 2, .coupling = Coupling::batch}, images,
                   {.contexts = {"joint"}, .company_size = 6});
  auto surrogate = defence.surrogates(0, {}).front();
  Tensor shown, numbers;
  surrogate.logits = [&](const SurrogateInput& in) {
    shown = in.x.detach(), numbers = in.index;
    return logits(in.x);
  };
  const auto rows = torch::tensor({4, 1}, at::kLong);
  VictimModel attacked({defence, 0, surrogate, {images.x, images.index}, defence.run(images.x), rows}, 3);
  const auto moved = at::full({2, 1, 2, 2}, .7, at::kDouble);
  const Loss loss{LossKind::ce, at::zeros({2}, at::kLong), {}};
  const auto answer = attacked.ask({moved, images.index.index_select(0, rows)}, &loss);
  EXPECT_TRUE(at::equal(defence.asked, images.index));
  EXPECT_TRUE(at::equal(numbers, images.index));
  EXPECT_TRUE(at::equal(shown, images.x.index_copy(0, rows, moved)));
  EXPECT_GT(answer.gradient.abs().min().item<double>(), 0)
      << "the neighbours move the mean that the victim is told from";
}

class CollusionStudy : public testing::Test {
 protected:
  CollusionStudy() {
    images.x = tiny_images(18, 1, at::kFloat), images.index = at::arange(18);
    const auto out = model.run(images.x);
    images.y =
        prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, images.index).argmax(1);
    options.contexts = {"joint"}, options.surrogates = {"ste"}, options.company_size = 9, options.settings.steps = 10;
  }
  HpmModel model = tiny_model(.1, at::kFloat);
  Images images;
  test::MsaSetting options;
};

TEST_F(CollusionStudy, CountsVictimsWithAndWithoutTheirOwnImageAndOnceWithoutColluders) {
  options.collusion = {{0, 4}, 7, 20};
  const auto joint = msa(model, {}, images, {Norm::linf, .03}, options).first();
  const auto& found = joint.collusion;
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].colluders, 0);
  EXPECT_TRUE(found[0].victim_too && found[1].victim_too && !found[2].victim_too);
  for (const auto& outcome : found) {
    EXPECT_EQ(outcome.victims, 7);
    EXPECT_EQ(outcome.broken.sum().item<int64_t>(), outcome.broke);
    EXPECT_FALSE((outcome.broken & joint.clean_correct.logical_not()).any().item<bool>()) << "no victim";
  }
  EXPECT_GT(found[1].broke, 0) << "nothing was broken, nothing is tested";
}

TEST_F(CollusionStudy, ARadiusOfZeroBreaksNobodyAndAWholeBatchOfAttackersDoes) {
  options.collusion = {{8}, 5, 20};
  for (const auto& outcome : msa(model, {}, images, {Norm::linf, 0}, options).first().collusion)
    EXPECT_EQ(outcome.broke, 0);
  const auto found = msa(model, {}, images, {Norm::linf, .5}, options).first().collusion;
  EXPECT_EQ(found[0].broke, 5);
}

TEST_F(CollusionStudy, MoreColludersThanABatchHoldsAreRefused) {
  options.collusion = {{9}, 5, 3};
  EXPECT_THROW(msa(model, {}, images, {Norm::linf, .03}, options), UsageError);
  options.company_size = 64, options.collusion = {{18}, 5, 3};
  EXPECT_THROW(msa(model, {}, images, {Norm::linf, .03}, options), UsageError) << "no batch has so many";
}

TEST(Crowds, ADefenceThatNothingCanAttackInPartIsRefusedBeforeTheAttacks) {
  const auto images = test::tiny_labelled_images(tiny_model(.4, at::kFloat).classifier, 8);
  FunctionDefence black_box({.logits = [](const Tensor& x) { return x.flatten(1).slice(1, 0, 5).detach(); },
                             .classes = 5,
                             .coupling = Coupling::batch,
                             .differentiable = false},
                            images, {.contexts = {"joint"}, .company_size = 4});
  MsaOptions options{.surrogates = {"query"}};
  options.collusion.colluders = {1};
  EXPECT_NE(test::message_of<UsageError>([&] {
              msa(black_box, {images, {Norm::linf, .03}}, options);
            }).find("can attack part of a batch"),
            std::string::npos);
}

TEST_F(CollusionStudy, VictimsStandInBatchesThatHoldSoManyNeighbours) {
  const auto victims = [&](int64_t colluders) {
    options.company_size = 13, options.collusion = {{colluders}, 18, 3};
    return msa(model, {}, images, {Norm::linf, .03}, options).first().collusion.front().victims;
  };
  EXPECT_GT(victims(4), victims(5)) << "the last batch has five images";
}

TEST_F(CollusionStudy, WhatBreaksAVictimAloneInItsBatchBreaksItInSoloToo) {
  options.contexts = {"solo", "joint"}, options.surrogates = {"fc"}, options.settings.steps = 1;
  const auto solo_of = [&](const std::vector<int64_t>& colluders) {
    options.collusion = {colluders, 18, 40};
    return msa(model, {}, images, {Norm::linf, .02}, options);
  };
  const auto without = solo_of({}), with = solo_of({0});
  const auto& study = with.contexts[1].collusion.front();
  const auto missed = without.contexts[0].robust & study.broken;
  ASSERT_TRUE(missed.any().item<bool>()) << "the study broke nothing that the attacks had left, nothing is tested";
  EXPECT_FALSE((with.contexts[0].robust & study.broken).any().item<bool>());
  const auto place = missed.nonzero()[0].item<int64_t>();
  EXPECT_EQ(to_string(with.contexts[0].broken_by[static_cast<size_t>(place)], "solo"), "colluders 0/apgd-ce in joint");
}

TEST_F(CollusionStudy, WhatColludersBreakCountsForJointAny) {
  options.settings.steps = 1, options.collusion = {{8}, 18, 20};
  const auto joint = msa(model, {}, images, {Norm::linf, .06}, options).first();
  for (const auto& outcome : joint.collusion) {
    EXPECT_EQ(outcome.broken.sum().item<int64_t>(), outcome.broke);
    EXPECT_LE(*joint.joint_any, percent(outcome.broken.logical_not()) + 1e-9);
  }
  options.collusion = {};
  EXPECT_LT(*joint.joint_any, *msa(model, {}, images, {Norm::linf, .06}, options).first().joint_any)
      << "they broke nothing more, nothing is tested";
}

}  // namespace
}  // namespace hpm
