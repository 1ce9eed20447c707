#include "hpm/core/random.h"

#include "hpm/core/error.h"
#include "support/support.h"

namespace hpm {
namespace {

TEST(RandomStreams, RowsDependOnTheirImageAloneNotOnTheBatch) {
  const RandomStreams streams(7);
  const auto index = torch::tensor({5, 2, 900, 5}, at::kLong);
  const auto batch = streams.uniform(index, {"start", 1, 2}, {3, 4});
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_TRUE(at::equal(batch[i], streams.uniform(index.slice(0, i, i + 1), {"start", 1, 2}, {3, 4})[0])) << i;
  EXPECT_TRUE(at::equal(batch[0], batch[3]));
}

TEST(RandomStreams, PositionContinuesTheSameStream) {
  const RandomStreams streams(7);
  const auto index = at::arange(3);
  const auto all = streams.uniform(index, {"p"}, {12}), tail = streams.uniform(index, {"p"}, {4}, 8);
  EXPECT_TRUE(at::equal(all.slice(1, 8), tail));
  EXPECT_THROW(streams.uniform(index, {"p"}, {4}, 3), UsageError);
}

TEST(RandomStreams, DifferBySeedPurposeRestartAndTarget) {
  const auto index = at::arange(1);
  const auto draw = [&](uint64_t seed, Purpose purpose) { return RandomStreams(seed).uniform(index, purpose, {8}); };
  const auto one = draw(1, {"a", 0, 0});
  for (const auto& other : {draw(2, {"a", 0, 0}), draw(1, {"b", 0, 0}), draw(1, {"a", 1, 0}), draw(1, {"a", 0, 1})})
    EXPECT_FALSE(at::equal(one, other));
  EXPECT_TRUE(at::equal(one, draw(1, {"a", 0, 0})));
}

TEST(RandomStreams, HaveTheMomentsOfTheirDistributions) {
  const RandomStreams streams(3);
  const auto index = at::arange(200);
  const auto u = streams.uniform(index, {"u"}, {500}), g = streams.normal(index, {"g"}, {500});
  EXPECT_NEAR(u.mean().item<double>(), .5, .004);
  EXPECT_NEAR(u.var().item<double>(), 1. / 12, .002);
  EXPECT_GE(u.min().item<double>(), 0);
  EXPECT_LT(u.max().item<double>(), 1);
  EXPECT_NEAR(g.mean().item<double>(), 0, .012);
  EXPECT_NEAR(g.std().item<double>(), 1, .012);
}

TEST(RandomStreams, PermutationHoldsEveryNumberOnce) {
  const RandomStreams streams(3);
  const auto order = streams.permutation(1000, {"order", 4});
  EXPECT_TRUE(at::equal(std::get<0>(order.sort()), at::arange(1000)));
  EXPECT_FALSE(at::equal(order, streams.permutation(1000, {"order", 5})));
  EXPECT_FALSE(at::equal(order, at::arange(1000)));
}

}  // namespace
}  // namespace hpm
