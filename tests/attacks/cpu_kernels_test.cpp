#include "hpm/attacks/cpu_kernels_impl.h"

#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;

Tensor filled(at::IntArrayRef shape, int64_t t) {
  int64_t n = 1;
  for (auto size : shape) n *= size;
  return fill_rule(n, t).view(shape).to(at::kFloat);
}

TEST(CpuKernels, MomentumStepIsTheTensorOperationsBitForBit) {
  const auto x = filled({9, 3, 7, 7}, 1);
  const ThreatModel threat{Norm::linf, 8. / 255};
  const auto x_old = project(x + .1 * (filled(x.sizes(), 2) - .5), x, threat), x_adv = project(x + .1 * (filled(x.sizes(), 3) - .5), x, threat);
  auto gradient = filled(x.sizes(), 4) - .5;
  gradient[0][0].zero_();
  gradient[1][0].fill_(std::nanf(""));
  const auto step = per_row(filled({9}, 5) * .06, x);
  for (double a : {1., .75}) {
    const auto z = project(x_adv + step * gradient.sign(), x, threat);
    const auto expected = project(x_adv + (z - x_adv) * a + (x_adv - x_old) * (1 - a), x, threat);
    EXPECT_TRUE(at::equal(linf_momentum_step(x, x_adv, x_old, gradient, step, a, threat.eps), expected)) << a;
  }
}

TEST(CpuKernels, RowsAreCopiedWhereTheFlagIsSet) {
  const auto from = filled({5, 2, 3}, 1), before = filled({5, 2, 3}, 2);
  const auto flags = torch::tensor({1, 0, 1, 0, 0}, at::kBool);
  auto to = before.clone();
  copy_rows_where(flags, from, to);
  EXPECT_TRUE(at::equal(to, at::where(per_row(flags, from), from, before)));
}

TEST(CpuKernels, OrderStatisticIsTheSortedValue) {
  const auto values = filled({6, 31}, 1);
  const auto place = torch::tensor({0, 30, 5, 15, 29, 1}, at::kLong);
  EXPECT_TRUE(at::equal(order_statistic(values, place), std::get<0>(values.sort(1)).gather(1, place.unsqueeze(1)).squeeze(1)));
}

TEST(CpuKernels, L1BallInBoxIsTheProjectionBySorting) {
  for (int64_t dims : {13, 20, 3072})
    for (double eps : {.5, 3., 1e4}) {
      const auto x = filled({8, dims}, 1), y = 3 * (filled({8, dims}, 2) - .5);
      const auto exact = x.to(at::kDouble) + y.to(at::kDouble) + project_l1_box(x.to(at::kDouble), y.to(at::kDouble), eps);
      const auto found = l1_ball_in_box(x, y, eps);
      EXPECT_TRUE(close(found, exact, 2e-5)) << dims << " " << eps;
      EXPECT_TRUE(inside(found, x, {Norm::l1, eps}).all().item<bool>()) << dims << " " << eps;
    }
}

TEST(CpuKernels, AreLeftForOtherTypesAndLayouts) {
  const auto x = filled({4, 6}, 1);
  EXPECT_TRUE(runs_on_kernels({x, Tensor()}));
  EXPECT_FALSE(runs_on_kernels({x, x.to(at::kDouble)}));
  EXPECT_FALSE(runs_on_kernels({x.t()}));
}

}  // namespace
}  // namespace hpm
