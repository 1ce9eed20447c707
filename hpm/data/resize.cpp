#include "hpm/data/resize.h"

#include "hpm/core/error.h"

namespace hpm {
namespace {

at::Tensor resized(const at::Tensor& x, int64_t shorter, const std::string& interpolation) {
  const int64_t height = x.size(2), width = x.size(3), least = std::min(height, width);
  if (least == shorter) return x;
  const int64_t longer = shorter * std::max(height, width) / least;
  const std::array<int64_t, 2> size{height < width ? shorter : longer, height < width ? longer : shorter};
  return interpolation == "bicubic" ? at::_upsample_bicubic2d_aa(x, size, false)
                                    : at::_upsample_bilinear2d_aa(x, size, false);
}

}  // namespace

void fields(Fields& f, ImageOptions& o) {
  f.section("images");
  f.add("resize", o.resize, "images:DIR: the shorter side becomes so long; 0: as it is",
        {.min = 0, .max = 65500, .unit = "pixels"});
  f.add("centre-crop", o.crop, "images:DIR: side of the square cut from the middle; 0: none",
        {.min = 0, .max = 65500, .unit = "pixels"});
  f.add("interpolation", o.interpolation, "of --resize, with antialiasing as in PIL",
        {.choices = {"bilinear", "bicubic"}});
}

at::Tensor prepare_image(const Picture& picture, const ImageOptions& options, const std::string& name) {
  // The memory is rows of RGB triples: in torch's words, channels last.
  auto x =
      at::from_blob(const_cast<std::byte*>(picture.pixels.data()), {1, picture.height, picture.width, 3}, at::kByte)
          .permute({0, 3, 1, 2});
  if (options.resize > 0) x = resized(x, options.resize, options.interpolation);
  if (options.crop > 0) {
    const int64_t height = x.size(2), width = x.size(3), side = options.crop;
    if (height < side || width < side)
      fail("{}: is {}x{}, smaller than --centre-crop {}; give a --resize of at least {}", name, width, height, side,
           side);
    const auto begin = [&](int64_t length) {
      return static_cast<int64_t>(std::nearbyint(static_cast<double>(length - side) / 2));
    };
    x = x.narrow(2, begin(height), side).narrow(3, begin(width), side);
  }
  return x.squeeze(0).clone(at::MemoryFormat::Contiguous);
}

}  // namespace hpm
