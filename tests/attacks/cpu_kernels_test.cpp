#include "hpm/attacks/cpu_kernels_impl.h"
#include "hpm/attacks/square_kernels_impl.h"

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
  const auto x_old = project(x + .1 * (filled(x.sizes(), 2) - .5), x, threat),
             x_adv = project(x + .1 * (filled(x.sizes(), 3) - .5), x, threat);
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
  EXPECT_TRUE(
      at::equal(order_statistic(values, place), std::get<0>(values.sort(1)).gather(1, place.unsqueeze(1)).squeeze(1)));
}

TEST(CpuKernels, L1BallInBoxIsTheProjectionBySorting) {
  for (int64_t dims : {13, 20, 3072})
    for (double eps : {.5, 3., 1e4}) {
      const auto x = filled({8, dims}, 1), y = 3 * (filled({8, dims}, 2) - .5);
      const auto exact =
          x.to(at::kDouble) + y.to(at::kDouble) + project_l1_box(x.to(at::kDouble), y.to(at::kDouble), eps);
      const auto found = l1_ball_in_box(x, y, eps);
      EXPECT_TRUE(close(found, exact, 2e-5)) << dims << " " << eps;
      EXPECT_TRUE(inside(found, x, {Norm::l1, eps}).all().item<bool>()) << dims << " " << eps;
    }
}

/// Square's step by tensor operations, for one image x, best [C,H,W] and one window pair.
Tensor moved_by_operations(const Tensor& x, const Tensor& best, std::pair<int64_t, int64_t> one,
                           std::pair<int64_t, int64_t> two, const Tensor& eta, const Tensor& signs, double eps,
                           bool euclidean) {
  const int64_t side = eta.size(0);
  const auto norm = [&](const Tensor& v) {
    return euclidean ? (v * v).sum({-2, -1}, true).sqrt() : v.abs().sum({-2, -1}, true);
  };
  auto delta = (best - x).to(at::kDouble);
  const auto window = [&](const Tensor& t, std::pair<int64_t, int64_t> at) {
    return t.slice(1, at.first, at.first + side).slice(2, at.second, at.second + side);
  };
  const auto used = (euclidean ? (delta * delta).sum().sqrt() : delta.abs().sum());
  auto mask = at::zeros_like(delta);
  window(mask, one).fill_(1), window(mask, two).fill_(1);
  const auto both = norm(delta * mask), old = window(delta, one).clone();
  auto mass = eta.to(at::kDouble) * signs.to(at::kDouble).view({-1, 1, 1}) + old / (1e-12 + norm(old));
  const auto channels = static_cast<double>(x.size(0));
  mass = mass / (1e-12 + norm(mass));
  mass = euclidean ? mass * ((eps * eps - used * used).clamp_min(0) / channels + both * both).sqrt()
                   : mass * ((eps - used).clamp_min(0) / channels + both) * channels;
  window(delta, two).zero_();
  window(delta, one).copy_(mass);
  return delta;
}

TEST(CpuKernels, MovedMassIsTheTensorOperations) {
  const auto x = filled({3, 3, 9, 11}, 1), best = (x + .2 * (filled(x.sizes(), 2) - .5)).clamp(0, 1);
  const auto eta = filled({5, 5}, 3) - .5, signs = (filled({3, 3}, 4) - .5).sign();
  const auto one = torch::tensor({{0, 0}, {4, 6}, {2, 3}}, at::kLong),
             two = torch::tensor({{3, 2}, {0, 0}, {2, 3}}, at::kLong);
  const auto turned = torch::tensor({0, 1, 1}, at::kBool);
  for (bool euclidean : {true, false})
    for (double eps : {.1, 3.}) {
      const auto found = moved_mass(x, best, {one, two, eta, turned, signs}, eps, euclidean);
      for (int64_t i = 0; i < 3; ++i) {
        const auto at = [&](const Tensor& t) { return std::pair{t[i][0].item<int64_t>(), t[i][1].item<int64_t>()}; };
        const auto expected = moved_by_operations(x[i], best[i], at(one), at(two),
                                                  turned[i].item<bool>() ? eta.t() : eta, signs[i], eps, euclidean);
        EXPECT_TRUE(close(found[i], expected, 1e-5)) << i << euclidean << eps;
      }
    }
  const auto delta = filled(x.sizes(), 9) - .5;
  const auto expected = (x + delta / per_row(norm_of_rows(delta, Norm::l2), x) * .7).clamp(0, 1);
  EXPECT_TRUE(close(onto_l2_sphere_in_box(x, delta, .7), expected, 1e-6));
}

TEST(CpuKernels, AreLeftForOtherTypesAndLayouts) {
  const auto x = filled({4, 6}, 1);
  EXPECT_TRUE(runs_on_kernels({x, Tensor()}));
  EXPECT_FALSE(runs_on_kernels({x, x.to(at::kDouble)}));
  EXPECT_FALSE(runs_on_kernels({x.t()}));
}

}  // namespace
}  // namespace hpm
