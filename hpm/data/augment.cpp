#include "hpm/data/augment.h"

#include "hpm/core/error.h"

namespace hpm {

void fields(Fields& f, AugmentOptions& o) {
  f.section("augment");
  f.add("crop", o.crop, "zero padding on each side before a random crop; 0: none",
        {.min = 0, .max = 64, .unit = "pixels"});
  f.add("flip", o.flip, "mirror left and right with probability 1/2");
  f.add("cutout", o.cutout, "side of a grey square at a random place; 0: none",
        {.min = 0, .max = 4096, .unit = "pixels"});
  f.add("cutmix", o.cutmix, "probability that an image gets a rectangle of another one, and a share of its label",
        {.min = 0, .max = 1});
}

namespace {

Tensor numbers(int64_t n, const Tensor& like) { return at::arange(n, like.options().dtype(at::kLong)); }

/// Whether each pixel lies in its row's rectangle [top, bottom) x [left, right): bounds [N] -> bool [N,1,height,width].
Tensor rectangles(const Tensor& top, const Tensor& bottom, const Tensor& left, const Tensor& right, int64_t height,
                  int64_t width) {
  const auto between = [](const Tensor& from, const Tensor& to, int64_t size) {
    const auto place = numbers(size, from).unsqueeze(0);
    return place.ge(from.unsqueeze(1)).logical_and(place.lt(to.unsqueeze(1)));
  };
  return between(top, bottom, height).unsqueeze(2).logical_and(between(left, right, width).unsqueeze(1)).unsqueeze(1);
}

Tensor cropped(const Tensor& x, const Tensor& index, const AugmentOptions& options, const RandomStreams& streams,
               int64_t epoch) {
  const auto u = streams.uniform(index, {"augment", epoch}, {3}).to(x.device());
  const int64_t n = x.size(0), height = x.size(2), width = x.size(3), pad = options.crop;
  const auto shift = [&](int64_t column) {
    return (u.select(1, column) * static_cast<double>(2 * pad + 1)).floor().to(at::kLong);
  };
  // The row and column numbers of each image in the padded one, then one gather.
  const auto rows = shift(0).unsqueeze(1) + numbers(height, u);
  auto columns = shift(1).unsqueeze(1) + numbers(width, u);
  if (options.flip) columns = at::where(u.select(1, 2).unsqueeze(1) < .5, columns.flip(1), columns);
  const auto padded = at::constant_pad_nd(x, {pad, pad, pad, pad});
  const auto image = numbers(n, u).view({n, 1, 1});
  // Indexing with the channel left whole gives [N,H,W,C].
  return padded.permute({0, 2, 3, 1})
      .index({image, rows.unsqueeze(2), columns.unsqueeze(1)})
      .permute({0, 3, 1, 2})
      .contiguous();
}

}  // namespace

Tensor augment(const Tensor& x, const Tensor& index, const AugmentOptions& options, const RandomStreams& streams,
               int64_t epoch) {
  const auto moved = cropped(x, index, options, streams, epoch);
  if (options.cutout == 0) return moved;
  const int64_t height = x.size(2), width = x.size(3);
  const auto u = streams.uniform(index, {"cutout", epoch}, {2}).to(x.device());
  const auto first = [&](int64_t column, int64_t size) {
    return (u.select(1, column) * static_cast<double>(size)).floor().to(at::kLong) - options.cutout / 2;
  };
  const auto top = first(0, height), left = first(1, width);
  return moved.masked_fill(rectangles(top, top + options.cutout, left, left + options.cutout, height, width), .5);
}

Mixed cutmix(const Tensor& x, const Tensor& y, const Tensor& index, double probability, int64_t classes,
             const RandomStreams& streams, int64_t epoch) {
  require(probability >= 0 && probability <= 1, "cutmix: needs a probability from 0 to 1, but got {}", probability);
  const int64_t height = x.size(2), width = x.size(3);
  const auto u = streams.uniform(index, {"cutmix", epoch}, {4}).to(x.device());
  const auto side = u.select(1, 1).sqrt() * u.select(1, 0).lt(probability);  // of the unit square; 0: not mixed
  const auto bounds = [&](int64_t column, int64_t size) {
    const auto s = static_cast<double>(size);
    const auto centre = u.select(1, column) * s, half = side * (s / 2);
    const auto pixel = [&](const Tensor& place) { return place.round().clamp(0, s).to(at::kLong); };
    return std::pair{pixel(centre - half), pixel(centre + half)};
  };
  const auto [top, bottom] = bounds(2, height);
  const auto [left, right] = bounds(3, width);
  const auto share = ((bottom - top) * (right - left)).to(x.scalar_type()) / static_cast<double>(height * width);
  const auto other = y.roll(-1, 0);
  const auto onehot = [&](const Tensor& labels) { return at::one_hot(labels, classes).to(x.scalar_type()); };
  const auto column = share.unsqueeze(1);
  return {at::where(rectangles(top, bottom, left, right, height, width), x.roll(-1, 0), x),
          at::where(share > .5, other, y), (1 - column) * onehot(y) + column * onehot(other)};
}

}  // namespace hpm
