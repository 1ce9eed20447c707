#include "hpm/attacks/images.h"

#include "hpm/core/error.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

/// The places, on the CPU, that `rows` names by number or by a mask.
Tensor numbers(const Tensor& rows) {
  const auto host = rows.cpu();
  return host.scalar_type() == at::kBool ? places_of(host) : host;
}

}  // namespace

Images Images::select(const Tensor& rows) const {
  const auto chosen = numbers(rows);
  const auto here = uploaded(chosen, x.device());
  return {x.index_select(0, here), y.index_select(0, here), index.index_select(0, chosen),
          clean_logits.defined() ? clean_logits.index_select(0, here) : Tensor(),
          run.defined() ? run.index_select(0, chosen) : Tensor()};
}

ImageSet::ImageSet(Images images) : y(images.y), index(images.index), images_(std::move(images)) {
  const auto& x = images_.x;
  require(x.dim() == 4 && y.dim() == 1 && y.size(0) == x.size(0) && index.dim() == 1 && index.size(0) == x.size(0),
          "images: need pixels [N,C,H,W], labels [N] and numbers [N], but got [{}], [{}] and [{}]",
          fmt::join(x.sizes(), ","), fmt::join(y.sizes(), ","), fmt::join(index.sizes(), ","));
  shape_ = x.sizes().slice(1).vec();
}

ImageSet::ImageSet(Loader load, std::vector<int64_t> shape, Tensor labels, Tensor image_numbers, std::string scratch)
    : y(std::move(labels)),
      index(std::move(image_numbers)),
      load_(std::move(load)),
      shape_(std::move(shape)),
      scratch_(std::move(scratch)) {}

Images ImageSet::select(const Tensor& rows) const {
  if (in_memory()) return images_.select(rows);
  const auto places = numbers(rows);
  const auto device = y.device();
  return {uploaded(load_(places), device), y.index_select(0, uploaded(places, device)), index.index_select(0, places)};
}

Images ImageSet::slice(int64_t begin, int64_t end) const {
  if (in_memory()) return {images_.x.slice(0, begin, end), y.slice(0, begin, end), index.slice(0, begin, end)};
  return select(at::arange(begin, end));
}

ImageSet ImageSet::subset(const Tensor& rows) const {
  if (in_memory()) return images_.select(rows);
  const auto places = numbers(rows);
  return {[load = load_, places](const Tensor& chosen) { return load(places.index_select(0, chosen)); }, shape_,
          y.index_select(0, places.to(y.device())), index.index_select(0, places), scratch_};
}

ImageSet ImageSet::with_pixels(Loader load) const { return {std::move(load), shape_, y, index, scratch_}; }

}  // namespace hpm
