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

}  // namespace
}  // namespace hpm
