#include "hpm/defences/function_defence.h"

#include "hpm/attacks/autoattack.h"
#include "hpm/attacks/function_model.h"
#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/evaluation/msa/msa.h"
#include "hpm/surrogates/smoothed.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;

constexpr int64_t kImages = 12;

Images random_images() {
  at::manual_seed(5);
  return {at::rand({kImages, 1, 2, 2}), at::arange(kImages) % 2, at::arange(100, 100 + kImages)};
}

/// Two classes; the second one's logit is the image's sum less the mean of its batch.
Tensor centred(const Tensor& x) {
  const auto sums = x.flatten(1).sum(1);
  return at::stack({at::zeros_like(sums), sums - sums.mean()}, 1);
}

FunctionDefence coupled(const Images& images, FunctionDefenceOptions options = {.company_size = 5}) {
  return {{.logits = centred, .classes = 2, .coupling = Coupling::batch}, images, std::move(options)};
}

TEST(FunctionDefence, GivesEachContextItsOwnBatch) {
  const auto images = random_images();
  auto defence = coupled(images);
  const auto pass = defence.run(images.x);
  const auto sums = images.x.flatten(1).sum(1);
  const auto alone = defence.predict(pass, images.index, 0), solo = defence.predict(pass, images.index, 1);
  EXPECT_TRUE(close(alone.select(1, 1), at::zeros({kImages}), 1e-6)) << "its own mean is itself";
  const auto company = sums.slice(0, 0, 5).mean();
  EXPECT_TRUE(close(solo.select(1, 1).slice(0, 0, 5), sums.slice(0, 0, 5) - company, 1e-6));
  // An image that moves takes the place of its clean version among the clean others.
  const auto moved = images.x.slice(0, 2, 3) + .1;
  const auto again = predict_once(defence, {moved, images.index.slice(0, 2, 3)}, 1);
  EXPECT_NEAR(again[0][1].item<double>(), (sums[2] + .4 - company - .4 / 5).item<double>(), 1e-5);
  EXPECT_EQ(defence.batches().size(), 3u);
  EXPECT_TRUE(at::equal(defence.batches()[2], at::tensor({110, 111})));
}

TEST(FunctionDefence, BatchesCanBeSortedByClass) {
  const auto images = random_images();
  const auto defence = coupled(images, {.company_size = 6, .by_class = true});
  EXPECT_TRUE(defence.batches()[0].remainder(2).eq(0).all().item<bool>()) << "all of class 0";
}

TEST(FunctionDefence, IsAttackedInEveryContextByItsOwnGradient) {
  const auto images = random_images();
  auto defence = coupled(images);
  const Loss loss{LossKind::ce, images.y.slice(0, 0, 5), {}};
  const Query query{images.x.slice(0, 0, 5), images.index.slice(0, 0, 5)};
  for (size_t t : {1u, 2u}) {
    AttackedDefence attacked(defence, t, defence.surrogates(t, {}).front());
    const auto answer = attacked.ask(query, &loss);
    EXPECT_GT(answer.gradient.abs().sum().item<double>(), 0) << defence.targets()[t].name;
    EXPECT_TRUE(answer.target_logits.isfinite().all().item<bool>());
  }
}

TEST(FunctionDefence, MsaBreaksABatchDependentModelInEveryContext) {
  auto images = random_images();
  auto defence = coupled(images);
  images.y = predict_once(defence, {images.x, images.index}, 1).argmax(1);
  auto labelled = coupled(images);
  const auto result = msa(labelled, {images, {Norm::linf, .5}}, {.batch_size = 4, .settings = {.steps = 10}});
  ASSERT_EQ(result.contexts.size(), 3u);
  EXPECT_EQ(result.contexts[1].context, "solo");
  EXPECT_LT(percent(result.contexts[1].robust), 20);
  EXPECT_LT(percent(result.contexts[2].robust), 60);
}

TEST(FunctionDefence, ARandomFunctionIsJudgedByFixedDraws) {
  const auto images = random_images();
  const auto noisy = [](const Tensor& x) {
    const auto sums = x.flatten(1).sum(1) - 2 + .5 * at::randn({x.size(0)});
    return at::stack({at::zeros_like(sums), sums}, 1);
  };
  FunctionDefence defence({.logits = noisy, .classes = 2, .random = true}, images, {.draws = 7});
  torch::manual_seed(1);
  const auto expected = at::rand({1});
  torch::manual_seed(1);
  const Query query{images.x, images.index};
  const auto votes = predict_once(defence, query, 0);
  EXPECT_TRUE(at::equal(at::rand({1}), expected)) << "the caller's generator is where it was";
  EXPECT_TRUE(at::equal(votes, predict_once(defence, query, 0)));
  EXPECT_TRUE(close(votes.sum(1), at::full({kImages}, 7.5), 1e-5)) << "7 votes and half a softmax";
  const auto all = defence.surrogates(0, {});
  EXPECT_EQ(all.front().name, "eot");
  EXPECT_FALSE(defence.random()) << "its verdicts are not";
}

/// Two classes; the second one's logit is the image's sum.
Tensor sum_logits(const Tensor& sums) { return at::stack({at::zeros_like(sums), sums}, 1); }

TEST(FunctionDefence, AStandInOfARandomFunctionIsAveragedOverAsManyDrawsAsItsOwnGradient) {
  const auto images = random_images();
  const auto sums = images.x.flatten(1).sum(1);
  const auto noise = [](const Tensor& x) { return sum_logits(x.flatten(1).sum(1) + at::randn({x.size(0)})); };
  int64_t noisy_calls = 0, still_calls = 0;
  Surrogate noisy{.name = "noisy"}, still{.name = "still"};
  noisy.logits = [&](const SurrogateInput& in) { return ++noisy_calls, noise(in.x); };
  still.logits = [&](const SurrogateInput& in) { return ++still_calls, sum_logits(in.x.flatten(1).sum(1)); };
  FunctionDefence defence({.logits = noise, .classes = 2, .random = true}, images,
                          {.surrogates = {noisy, still, smoothed_surrogate(noise, {.samples = 4})}, .draws = 10});
  const auto named = [&](const char* name) { return defence.surrogates(0, {.names = {name}}).front(); };
  const auto ask = [&](const char* name) {
    return AttackedDefence(defence, 0, named(name)).surrogate_logits({images.x, images.index}).select(1, 1);
  };
  const auto averaged = ask("noisy");
  EXPECT_EQ(noisy_calls, 10);
  EXPECT_TRUE(at::equal(averaged, ask("noisy"))) << "every query meets the same draws";
  const auto deviation = (averaged - sums).pow(2).mean().sqrt().item<double>();
  EXPECT_GT(deviation, 0);
  EXPECT_LT(deviation, .7) << "1 / sqrt(10) of one draw's, which is 1";
  EXPECT_TRUE(close(ask("still"), sums, 1e-6));
  EXPECT_EQ(still_calls, 1) << "it draws nothing";
  // What a gradient takes at most; each of smoothed's four copies meets a draw of its own.
  EXPECT_EQ(named("noisy").own_passes, 10);
  EXPECT_EQ(named("smoothed").own_passes, 12);
}

/// Of ten calls in a row, the first 10 x[0] say class 0 of an image; the others all say 1, or 1 and 2 in turn.
std::function<Tensor(const Tensor&)> in_turn(std::shared_ptr<int64_t> calls) {
  return [calls](const Tensor& x) {
    const auto call = (*calls)++ % 10;
    const auto right = x.select(1, 0).select(1, 0).select(1, 0).mul(10).round().gt(static_cast<double>(call));
    const auto agree = x.select(1, 0).select(1, 0).select(1, 1).gt(.5);
    const auto wrong = at::where(agree, at::ones_like(agree, at::kLong), at::full_like(agree, 1 + call % 2, at::kLong));
    const auto answer = at::where(right, at::zeros_like(wrong), wrong);
    return at::one_hot(answer, 3).to(at::kFloat) + 0 * x.flatten(1).sum(1, true);
  };
}

TEST(FunctionDefence, ARandomModelAnswersTheClassThatMoreDrawsGiveThanAnyOtherAndAutoAttackHasTheSameRule) {
  // Four of ten are right: enough where the wrong ones are three and three, and not where they are six.
  const auto x = torch::tensor({{.4F, 0.F}, {.4F, 1.F}, {.6F, 1.F}}).view({3, 1, 1, 2});
  const Images images{x, at::zeros({3}, at::kLong), at::arange(3)};
  const auto expected = torch::tensor({true, false, true});
  FunctionDefence defence({.logits = in_turn(std::make_shared<int64_t>(0)), .classes = 3, .random = true}, images);
  EXPECT_TRUE(at::equal(predict_once(defence, {x, images.index}, 0).argmax(1).eq(0), expected));
  FunctionModel model(in_turn(std::make_shared<int64_t>(0)), 3, true);
  const auto result = autoattack(model, images, {Norm::linf, .01},
                                 {.version = "custom", .attacks = {"apgd-ce"}, .settings = {.steps = 1}});
  EXPECT_TRUE(at::equal(result.clean_correct, expected));
  EXPECT_FALSE(result.worst_draw.any().item<bool>()) << "some draw is wrong for each";
}

TEST(FunctionDefence, AStandInGetsImagesAloneWhereThePassIsTheImages) {
  const auto images = random_images();
  Surrogate curious{.name = "curious"};
  curious.logits = [](const SurrogateInput& in) {
    if (in.z.defined() || in.o.defined()) throw std::runtime_error("these are no features and no logits");
    return sum_logits(in.x.flatten(1).sum(1));
  };
  auto defence = coupled(images, {.surrogates = {curious}, .company_size = 5});
  const Loss loss{LossKind::ce, images.y, {}};
  AttackedDefence attacked(defence, 0, defence.surrogates(0, {.names = {"curious"}}).front());
  EXPECT_GT(attacked.ask({images.x, images.index}, &loss).gradient.abs().min().item<double>(), 0);
}

TEST(FunctionDefence, RefusesWhatItCannotBe) {
  const auto images = random_images();
  EXPECT_THROW(coupled(images, {.contexts = {"reference"}}), UsageError);
  EXPECT_THROW(coupled(images, {.contexts = {"solo", "solo"}}), UsageError);
  EXPECT_THROW(FunctionDefence({}, images), UsageError);
  FunctionDefence wrong({.logits = [](const Tensor& x) { return x.flatten(1); }, .classes = 2}, images);
  const auto message = test::message_of<Error>([&] { wrong.run(images.x); });
  EXPECT_NE(message.find("needs to give logits [12,2], but gives [12,4]"), std::string::npos) << message;
}

}  // namespace
}  // namespace hpm
