#include "hpm/core/norms.h"

#include "hpm/core/error.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::tensor_of;

const Norm kNorms[] = {Norm::linf, Norm::l2, Norm::l1};

TEST(Norms, AreParsedInAnyCaseAndNothingElse) {
  for (auto norm : kNorms) EXPECT_EQ(parse_norm(to_string(norm)), norm);
  EXPECT_EQ(parse_norm("linf"), Norm::linf);
  EXPECT_THROW(parse_norm("L3"), UsageError);
}

TEST(Norms, OfRowsAreTheHandValues) {
  const auto delta = torch::tensor({{3., -4.}, {0., 0.}});
  EXPECT_TRUE(close(norm_of_rows(delta, Norm::linf), torch::tensor({4., 0.}), 0));
  EXPECT_TRUE(close(norm_of_rows(delta, Norm::l2), torch::tensor({5., 0.}), 1e-12));
  EXPECT_TRUE(close(norm_of_rows(delta, Norm::l1), torch::tensor({7., 0.}), 0));
}

TEST(Ball, InsideAllowsRoundingAndNoMoreAndShrinkingBringsEveryPointInside) {
  const auto x = fill_rule(4 * 3072, 1).view({4, 3072}).to(at::kFloat);
  for (auto norm : kNorms) {
    const ThreatModel threat{norm, norm == Norm::linf ? .03 : norm == Norm::l2 ? .5 : 12.};
    const auto at = [&](double share) {
      const auto direction = (.5 - x).to(at::kDouble);
      return (x + direction / norm_of_rows(direction, norm).unsqueeze(1) * threat.eps * share).to(at::kFloat);
    };
    EXPECT_TRUE(inside(at(1), x, threat).all().item<bool>()) << to_string(norm);
    EXPECT_FALSE(inside(at(1.0005), x, threat).any().item<bool>()) << to_string(norm);
    EXPECT_TRUE(inside(shrink_into(at(1.0005), x, threat), x, threat).all().item<bool>()) << to_string(norm);
    EXPECT_TRUE(at::equal(shrink_into(x, x, {norm, 0}), x));
    EXPECT_TRUE(close(shrink_into(at(.5), x, threat), at(.5), 1e-6));
  }
  auto outside = x.clone();
  outside[0][0] = -1e-6;
  EXPECT_FALSE(inside(outside, x, {Norm::linf, 1})[0].item<bool>());
}

TEST(Projection, LandsInBallAndBoxAndLeavesInnerPointsAlone) {
  const auto x = fill_rule(8 * 30, 1).view({8, 30});
  for (auto norm : kNorms)
    for (double eps : {0., .03, .5, 4.}) {
      const auto p = project(x + 2 * (fill_rule(240, 2).view({8, 30}) - .5), x, {norm, eps});
      EXPECT_LE((norm_of_rows(p - x, norm) - eps).max().item<double>(), 1e-9) << to_string(norm) << eps;
      EXPECT_GE(p.min().item<double>(), -1e-12);
      EXPECT_LE(p.max().item<double>(), 1 + 1e-12);
      const auto inner = project(x + 1e-4 * (.5 - x) * eps, x, {norm, eps});
      EXPECT_TRUE(close(inner, x + 1e-4 * (.5 - x) * eps, 1e-9));
    }
}

TEST(Projection, OntoL1BallInTheBoxIsTheNearestPoint) {
  // Against the dual: d_i(mu) = clip(sign(y_i) max(|y_i| - mu, 0), -x_i, 1 - x_i), mu by bisection in this test.
  const auto x = fill_rule(6 * 20, 3).view({6, 20}), y = 2 * (2 * fill_rule(120, 6).view({6, 20}) - 1);
  const auto ours = y + project_l1_box(x, y, 3.);
  for (int64_t row = 0; row < 6; ++row) {
    double low = 0, high = 4;
    Tensor d;
    for (int i = 0; i < 200; ++i) {
      const double mu = (low + high) / 2;
      d = at::min(at::max(y[row].sign() * (y[row].abs() - mu).clamp_min(0), -x[row]), 1 - x[row]);
      (d.abs().sum().item<double>() > 3 ? low : high) = mu;
    }
    EXPECT_TRUE(close(ours[row], d, 1e-9)) << row;
  }
}

TEST(Projection, OntoL1BallAgreesWithTheReference) {
  const auto oracle = test::read_json(test::source_dir() / "tests/attacks/reference.json")["l1_ball_projection"];
  const auto x = fill_rule(6 * 20, 3).view({6, 20}), y = 2 * (2 * fill_rule(120, 6).view({6, 20}) - 1);
  EXPECT_TRUE(close(project_l1_box(x, y, oracle["eps"]), tensor_of(oracle["delta"]), 1e-9));
}

TEST(RandomStart, LiesOnTheSphereWhereTheBoxAllows) {
  const auto x = at::full({4, 10}, .5, at::kDouble), noise = 2 * fill_rule(40, 9).view({4, 10}) - 1;
  for (auto norm : {Norm::linf, Norm::l2}) {
    const auto start = random_start(x, noise, {norm, .1});
    EXPECT_TRUE(close(norm_of_rows(start - x, norm), at::full({4}, .1, at::kDouble), 1e-9));
  }
  EXPECT_LE(norm_of_rows(random_start(x, noise, {Norm::l1, .1}) - x, Norm::l1).max().item<double>(), .1 + 1e-9);
}

}  // namespace
}  // namespace hpm
