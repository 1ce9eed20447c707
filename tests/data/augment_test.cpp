#include "hpm/data/augment.h"

#include "support/support.h"

namespace hpm {
namespace {

using test::fill_rule;

TEST(Augment, WithoutCropAndFlipChangesNothing) {
  const auto x = fill_rule(2 * 3 * 5 * 7, 1).view({2, 3, 5, 7});
  EXPECT_TRUE(at::equal(augment(x, at::arange(2), {.crop = 0, .flip = false}, RandomStreams(1), 0), x));
}

TEST(Augment, GivesEveryCropAndMirrorOfThePaddedImageAndNoOther) {
  const auto x = fill_rule(3 * 4 * 4, 1).view({1, 3, 4, 4});
  const auto padded = at::constant_pad_nd(x, {1, 1, 1, 1});
  std::set<int> seen;
  for (int64_t image = 0; image < 300; ++image) {
    const auto moved = augment(x, torch::tensor({image}, at::kLong), {.crop = 1, .flip = true}, RandomStreams(5), 0);
    int found = -1;
    for (int dy = 0; dy < 3; ++dy)
      for (int dx = 0; dx < 3; ++dx)
        for (int flip = 0; flip < 2; ++flip) {
          auto crop = padded.slice(2, dy, dy + 4).slice(3, dx, dx + 4);
          if (flip) crop = crop.flip(3);
          if (at::equal(crop, moved)) found = dy * 6 + dx * 2 + flip;
        }
    ASSERT_GE(found, 0) << "image " << image << " is no crop";
    seen.insert(found);
  }
  EXPECT_EQ(seen.size(), 18u);
}

TEST(Augment, DependsOnImageAndEpochNotOnTheBatch) {
  const auto x = fill_rule(4 * 3 * 6 * 6, 1).view({4, 3, 6, 6});
  const auto index = torch::tensor({9, 4, 7, 1}, at::kLong);
  const AugmentOptions options{.crop = 2, .flip = true};
  const auto batch = augment(x, index, options, RandomStreams(5), 3);
  const auto one = augment(x.slice(0, 2, 3), index.slice(0, 2, 3), options, RandomStreams(5), 3);
  EXPECT_TRUE(at::equal(batch.slice(0, 2, 3), one));
  EXPECT_FALSE(at::equal(batch, augment(x, index, options, RandomStreams(5), 4)));
}

TEST(Augment, CutoutGreysOneSquareThatMayLieAtTheBorder) {
  const auto x = at::full({200, 1, 6, 6}, .2);
  const auto cut = augment(x, at::arange(200), {.crop = 0, .flip = false, .cutout = 2}, RandomStreams(5), 0);
  const auto grey = cut.eq(.5);
  EXPECT_TRUE(at::equal(cut.masked_fill(grey, .2), x));
  const auto rows = grey.any(3).sum(2).squeeze(1), columns = grey.any(2).sum(2).squeeze(1);
  EXPECT_TRUE(at::equal(grey.sum({1, 2, 3}), rows * columns)) << "a rectangle";
  EXPECT_EQ(rows.max().item<int64_t>(), 2);
  EXPECT_EQ(rows.min().item<int64_t>(), 1) << "a centre in the first row leaves one row of two";
}

TEST(CutMix, LabelSharesAreTheAreasOfTheRectangles) {
  constexpr int64_t n = 63;  // neighbours, the last and the first too, have different labels
  const auto x = (at::arange(n, at::kFloat) / n).view({n, 1, 1, 1}).expand({n, 1, 8, 6}).contiguous();
  const auto y = at::arange(n).remainder(3), index = at::arange(n);
  const auto mixed = cutmix(x, y, index, .75, 3, RandomStreams(2), 1);
  int64_t unmixed = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t other = (i + 1) % n;
    const auto from_other = mixed.x[i].eq(x[other]);
    EXPECT_TRUE(at::equal(at::where(from_other, x[i], mixed.x[i]), x[i])) << "two images alone";
    const double share = from_other.to(at::kFloat).mean().item<double>();
    unmixed += share == 0;
    const auto own = y[i].item<int64_t>(), others = y[other].item<int64_t>();
    EXPECT_NEAR(mixed.targets[i][others].item<double>(), share, 1e-6);
    EXPECT_NEAR(mixed.targets[i][own].item<double>(), 1 - share, 1e-6);
    EXPECT_EQ(mixed.y[i].item<int64_t>(), share > .5 ? others : own);
  }
  EXPECT_GT(unmixed, 5) << "a quarter is left alone";
  EXPECT_LT(unmixed, 40);
  const auto alone = cutmix(x.slice(0, 3, 5), y.slice(0, 3, 5), index.slice(0, 3, 5), .75, 3, RandomStreams(2), 1);
  EXPECT_TRUE(at::equal(alone.x[0], mixed.x[3])) << "the rectangle depends on image and epoch alone";
  EXPECT_TRUE(at::equal(cutmix(x, y, index, 0, 3, RandomStreams(2), 1).x, x));
}

}  // namespace
}  // namespace hpm
