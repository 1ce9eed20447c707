#include "hpm/attacks/image_store.h"

#include <gtest/gtest.h>

#include "hpm/core/error.h"
#include "hpm/core/torch_impl.h"

namespace hpm {
namespace {

/// Six images of two by two pixels that say their place; loaded, or in memory.
Tensor pixels() { return at::arange(6, at::kFloat).view({6, 1, 1, 1}).expand({6, 1, 2, 2}).contiguous() / 10; }
ImageSet in_memory() { return {pixels(), at::arange(6), at::arange(100, 106)}; }
ImageSet loaded() {
  return {[](const Tensor& places) { return pixels().index_select(0, places); },
          {1, 2, 2},
          at::arange(6),
          at::arange(100, 106),
          ""};
}

TEST(ImageSet, LoadedAndInMemoryGiveTheSameImages) {
  for (const auto& set : {in_memory(), loaded()}) {
    EXPECT_EQ(set.size(), 6);
    EXPECT_EQ(set.shape(), (std::vector<int64_t>{1, 2, 2}));
    const auto rows = torch::tensor({4, 1}, at::kLong);
    for (const auto& some : {set.select(rows), set.subset(rows).slice(0, 2)}) {
      EXPECT_TRUE(at::equal(some.x, pixels().index_select(0, rows)));
      EXPECT_TRUE(at::equal(some.y, rows));
      EXPECT_TRUE(at::equal(some.index, rows + 100));
    }
    const auto odd = set.subset(at::arange(6).remainder(2).eq(1));
    EXPECT_TRUE(
        at::equal(odd.subset(torch::tensor({2}, at::kLong)).slice(0, 1).index, torch::tensor({105}, at::kLong)));
    int64_t seen = 0;
    for_chunks(set, 4, [&](const Images& chunk, int64_t begin) {
      EXPECT_EQ(begin, seen);
      EXPECT_EQ(chunk.size(), seen == 0 ? 4 : 2);
      seen += chunk.size();
    });
    EXPECT_EQ(seen, 6);
  }
}

TEST(ImageSet, SizesThatDoNotFitAreRefused) {
  EXPECT_THROW(ImageSet(pixels(), at::arange(5), at::arange(6)), UsageError);
  EXPECT_THROW(ImageSet(pixels().flatten(1), at::arange(6), at::arange(6)), UsageError);
}

TEST(ImageStore, GivesWhatWasPutLastAndOriginalsElsewhere) {
  for (const auto& set : {in_memory(), loaded()}) {
    ImageStore store(set);
    EXPECT_TRUE(at::equal(store.all(), pixels()));
    const auto places = torch::tensor({5, 0}, at::kLong);
    store.put(places, at::full({2, 1, 2, 2}, .5));
    store.put(torch::tensor({0}, at::kLong), at::full({1, 1, 2, 2}, .25));
    store.put(torch::tensor({}, at::kLong), at::empty({0, 1, 2, 2}));
    auto expected = pixels();
    expected[5].fill_(.5), expected[0].fill_(.25);
    EXPECT_TRUE(at::equal(store.all(), expected));
    const auto some = torch::tensor({3, 0, 5, 0}, at::kLong);
    EXPECT_TRUE(at::equal(store.select(some), expected.index_select(0, some)));
    EXPECT_TRUE(at::equal(store.set().subset(places).slice(0, 2).x, expected.index_select(0, places)));
    EXPECT_TRUE(at::equal(set.slice(0, 6).x, pixels())) << "the originals were written to";
  }
}

TEST(ImageStore, SaysWhereNoTemporaryFileCanBeMade) {
  ImageStore store(
      ImageSet([](const Tensor&) { return Tensor(); }, {1, 2, 2}, at::arange(6), at::arange(6), "/no/such/folder"));
  EXPECT_THROW(store.put(at::arange(1), at::zeros({1, 1, 2, 2})), Error);
}

}  // namespace
}  // namespace hpm
