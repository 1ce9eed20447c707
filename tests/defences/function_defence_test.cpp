#include "hpm/defences/function_defence.h"

#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/evaluation/msa/msa.h"
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
