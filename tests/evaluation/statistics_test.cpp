#include "hpm/evaluation/results/statistics.h"

#include "support/support.h"

namespace hpm {
namespace {

TEST(StandardError, IsThatOfAShareInPercent) {
  EXPECT_DOUBLE_EQ(standard_error(50, 100), 5);  // 100 sqrt(.5 .5 / 100)
  EXPECT_DOUBLE_EQ(standard_error(90, 25), 6);   // 100 sqrt(.9 .1 / 25)
  EXPECT_EQ(standard_error(100, 7), 0);
  EXPECT_EQ(standard_error(50, 0), 0) << "of no images nothing is known, and nothing is divided";
}

TEST(Statistics, BinomialUpperIsClopperAndPearsons) {
  EXPECT_NEAR(binomial_upper(0, 60), 100 * (1 - std::pow(.05, 1. / 60)), 1e-9);
  EXPECT_NEAR(binomial_upper(0, 1), 95, 1e-9);
  EXPECT_NEAR(binomial_upper(1, 20), 21.61, .005);
  EXPECT_NEAR(binomial_upper(10, 100), 16.37, .005);
  EXPECT_EQ(binomial_upper(5, 5), 100);
  EXPECT_EQ(binomial_upper(0, 0), 100);
}

TEST(Wilson, HasTheTextbookValues) {
  // 15 of 148 (Newcombe 1998, table I): .0624 to .1605
  EXPECT_NEAR(wilson(15, 148).low, 6.24, .005);
  EXPECT_NEAR(wilson(15, 148).high, 16.05, .005);
  EXPECT_NEAR(wilson(0, 20).low, 0, 1e-12);
  EXPECT_NEAR(wilson(0, 20).high, 16.11, .005);
  EXPECT_NEAR(wilson(20, 20).high, 100, 1e-9);
}

TEST(McNemar, IsTheExactTwoSidedBinomialTest) {
  EXPECT_NEAR(mcnemar(0, 5), 2. / 32, 1e-12);
  EXPECT_NEAR(mcnemar(1, 5), 2 * (1 + 6) / 64., 1e-12);
  EXPECT_NEAR(mcnemar(5, 1), mcnemar(1, 5), 1e-12);
  EXPECT_EQ(mcnemar(4, 4), 1);
  EXPECT_EQ(mcnemar(0, 0), 1);
  EXPECT_GT(mcnemar(600, 500), 0);
}

TEST(PairedComparison, CountsDiscordantImages) {
  const auto a = torch::tensor({1, 1, 1, 0, 0}, at::kBool), b = torch::tensor({1, 0, 0, 1, 0}, at::kBool);
  const auto c = compare_paired(a, b);
  EXPECT_EQ(c.wins, 2);
  EXPECT_EQ(c.losses, 1);
  EXPECT_DOUBLE_EQ(c.difference, 20);
  EXPECT_LT(c.interval.low, 20);
  EXPECT_GT(c.interval.high, 20);
}

TEST(SmallestDetectable, NeedsTheNumberOfImagesThatTheDesignStates) {
  // One point at 3 and 7 % discordant images: 2,400 and 5,800 images (shared design), within rounding.
  EXPECT_NEAR(smallest_detectable(2400, .03), 1, .02);
  EXPECT_NEAR(smallest_detectable(5500, .07), 1, .02);
  EXPECT_GT(smallest_detectable(500, .05), smallest_detectable(5000, .05));
}

}  // namespace
}  // namespace hpm
