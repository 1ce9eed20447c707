#include "hpm/attacks/pgd.h"

#include "attacks/formula_net.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using test::fill_rule;

Images random_images(const Classifier& net, int64_t n) {
  const auto x = fill_rule(n * 192, 3).view({n, 3, 8, 8}).to(at::kFloat);
  torch::NoGradGuard guard;
  return {x, net.logits(x).argmax(1), at::arange(n)};
}

class Pgd : public testing::TestWithParam<Norm> {
 protected:
  ThreatModel threat() const { return {GetParam(), GetParam() == Norm::linf ? .05 : GetParam() == Norm::l2 ? .5 : 4.}; }
  Classifier net = test::formula_net(at::kFloat);
  Images images = random_images(net, 20);
  ClassifierModel model{net};
};

TEST_P(Pgd, StaysInBallAndBoxAndReturnsOriginalsWhereUnbroken) {
  const auto result = pgd(model, images, threat(), {.steps = 10}, RandomStreams(1));
  EXPECT_LE(norm_of_rows(result.images - images.x, GetParam()).max().item<double>(), threat().eps * (1 + 1e-5));
  EXPECT_GE(result.images.min().item<double>(), 0);
  EXPECT_LE(result.images.max().item<double>(), 1);
  ASSERT_TRUE(result.broken.any().item<bool>()) << "the attack broke nothing: nothing is tested";
  torch::NoGradGuard guard;
  EXPECT_TRUE(at::equal(net.logits(result.images).argmax(1).ne(images.y), result.broken));
  const auto held = result.broken.logical_not();
  EXPECT_TRUE(at::equal(result.images.index({held}), images.x.index({held})));
}

TEST_P(Pgd, DoesNotDependOnTheBatch) {
  const auto whole = pgd(model, images, threat(), {.steps = 5, .restarts = 2}, RandomStreams(1));
  for (int64_t begin : {0, 7}) {
    const auto part = images.select(at::arange(begin, begin + 7));
    const auto alone = pgd(model, part, threat(), {.steps = 5, .restarts = 2}, RandomStreams(1));
    EXPECT_TRUE(at::equal(alone.broken, whole.broken.slice(0, begin, begin + 7)));
  }
}

TEST_P(Pgd, MoreStepsRaiseTheLoss) {
  const auto loss = [&](int64_t steps) {
    const auto x = pgd_training_images(model, images, threat(), steps, threat().eps / 4, RandomStreams(2), 0);
    torch::NoGradGuard guard;
    return at::cross_entropy_loss(net.logits(x), images.y).item<double>();
  };
  EXPECT_GT(loss(4), loss(0));
  EXPECT_GT(loss(20), loss(1));
}

INSTANTIATE_TEST_SUITE_P(Norms, Pgd, testing::Values(Norm::linf, Norm::l2, Norm::l1),
                         [](const auto& info) { return to_string(info.param); });

TEST(Fgsm, IsOneStepOfLengthEpsAlongTheSign) {
  const auto net = test::formula_net(at::kFloat);
  const auto images = random_images(net, 10);
  ClassifierModel model(net);
  const auto result = fgsm(model, images, {Norm::linf, .05});
  ASSERT_TRUE(result.broken.any().item<bool>());
  const Loss loss{LossKind::ce, images.y, {}};
  const auto gradient = model.ask({images.x, images.index}, &loss).gradient;
  const auto expected = (images.x + .05 * gradient.sign()).clamp(0, 1);
  EXPECT_TRUE(test::close(result.images.index({result.broken}), expected.index({result.broken}), 1e-6));
}

TEST(PgdOptions, BadOnesAreUsageErrors) {
  const auto net = test::formula_net(at::kFloat);
  const auto images = random_images(net, 2);
  ClassifierModel model(net);
  EXPECT_THROW(pgd(model, images, {}, {.steps = 0}, RandomStreams(1)), UsageError);
  EXPECT_THROW(pgd(model, images, {}, {.loss = "mse"}, RandomStreams(1)), UsageError);
}

}  // namespace
}  // namespace hpm
