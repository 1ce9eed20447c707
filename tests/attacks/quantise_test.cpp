#include "hpm/attacks/quantise.h"

#include "hpm/core/error.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;

TEST(Quantised, ImagesHaveEightBitsAndStayInBallAndBox) {
  const auto x = (fill_rule(6 * 300, 1).view({6, 3, 10, 10}) * 255).round().to(at::kFloat) / 255;
  for (auto norm : {Norm::linf, Norm::l2, Norm::l1})
    for (double eps : {.5 / 255, 2.2 / 255, .3}) {
      const auto x_adv = shrink_into(
          project(x + 2 * (fill_rule(1800, 2).view(x.sizes()) - .5).to(at::kFloat), x, {norm, eps}), x, {norm, eps});
      const auto q = quantised(x_adv, x, {norm, eps});
      EXPECT_TRUE(close(q * 255, (q * 255).round(), 1e-4));
      EXPECT_TRUE(inside(q, x, {norm, eps}).all().item<bool>()) << to_string(norm) << " " << eps;
      EXPECT_LE((q - x_adv).abs().max().item<double>(), 1. / 255 + 1e-6);
    }
}

TEST(Quantised, RoundsToTheNearestWhereTheBallAllowsIt) {
  const auto x = torch::tensor({{{{10.f, 100.f}}}}) / 255;
  const auto near = quantised(x + torch::tensor({{{{.7f, -.7f}}}}) / 255, x, {Norm::linf, 1. / 255});
  EXPECT_TRUE(close(near * 255, torch::tensor({{{{11.f, 99.f}}}}), 1e-3));
  const auto towards = quantised(x + torch::tensor({{{{.7f, -.7f}}}}) / 255, x, {Norm::linf, .8 / 255});
  EXPECT_TRUE(close(towards, x, 1e-6));
  EXPECT_THROW(quantised(x + .001, x + .001, {Norm::linf, .1}), UsageError);
}

}  // namespace
}  // namespace hpm
