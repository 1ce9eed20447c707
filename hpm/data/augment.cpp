#include "hpm/data/augment.h"

namespace hpm {

void fields(Fields& f, AugmentOptions& o) {
  f.section("augment");
  f.add("crop", o.crop, "zero padding on each side before a random crop; 0: none",
        {.min = 0, .max = 64, .unit = "pixels"});
  f.add("flip", o.flip, "mirror left and right with probability 1/2");
}

Tensor augment(const Tensor& x, const Tensor& index, const AugmentOptions& options, const RandomStreams& streams,
               int64_t epoch) {
  const auto u = streams.uniform(index, {"augment", epoch}, {3}).to(x.device());
  const int64_t n = x.size(0), height = x.size(2), width = x.size(3), pad = options.crop;
  const auto shift = [&](int64_t column) {
    return (u.select(1, column) * static_cast<double>(2 * pad + 1)).floor().to(at::kLong);
  };
  // The row and column numbers of each image in the padded one, then one gather.
  const auto rows = shift(0).unsqueeze(1) + at::arange(height, u.options().dtype(at::kLong));
  auto columns = shift(1).unsqueeze(1) + at::arange(width, u.options().dtype(at::kLong));
  if (options.flip) columns = at::where(u.select(1, 2).unsqueeze(1) < .5, columns.flip(1), columns);
  const auto padded = at::constant_pad_nd(x, {pad, pad, pad, pad});
  const auto image = at::arange(n, u.options().dtype(at::kLong)).view({n, 1, 1});
  // Indexing with the channel left whole gives [N,H,W,C].
  return padded.permute({0, 2, 3, 1})
      .index({image, rows.unsqueeze(2), columns.unsqueeze(1)})
      .permute({0, 3, 1, 2})
      .contiguous();
}

}  // namespace hpm
