#include "hpm/attacks/image_store.h"

#include <optional>

#include "hpm/core/transfer.h"
#include "hpm/io/file.h"

namespace hpm {

/// Records of C * H * W floats: rows of a tensor, or of a file.
struct ImageStore::Held {
  ImageSet originals;
  Tensor there;                     // [N] bool (CPU): which were put
  Tensor memory;                    // [N,C,H,W]
  std::optional<ScratchFile> file;  // made by the first that is put
  int64_t values = 1;               // of an image

  explicit Held(ImageSet set) : originals(std::move(set)), there(at::zeros({originals.size()}, at::kBool)) {
    for (auto length : originals.shape()) values *= length;
  }

  uint64_t offset(int64_t place) const { return static_cast<uint64_t>(place * values) * sizeof(float); }

  void write(const Tensor& places, const Tensor& images) {
    there.index_fill_(0, places, true);
    if (originals.in_memory()) {
      if (!memory.defined()) memory = originals.slice(0, originals.size()).x.clone();
      memory.index_copy_(0, uploaded(places, memory.device()), images.to(memory.options()));
      return;
    }
    if (!file) file.emplace(originals.scratch());
    const auto rows = images.to(at::kCPU, at::kFloat).contiguous();
    for (int64_t i = 0; i < places.numel(); ++i)
      file->write(offset(places[i].item<int64_t>()),
                  std::as_bytes(std::span(rows[i].const_data_ptr<float>(), static_cast<size_t>(values))));
  }

  void read(const Tensor& places, const Tensor& rows, Tensor& images) const {
    for (int64_t i = 0; i < places.numel(); ++i)
      file->read(offset(places[i].item<int64_t>()),
                 std::as_writable_bytes(
                     std::span(images[rows[i].item<int64_t>()].data_ptr<float>(), static_cast<size_t>(values))));
  }

  Tensor select(const Tensor& places) const {
    if (memory.defined()) return memory.index_select(0, uploaded(places, memory.device()));
    if (!file) return originals.select(places).x;
    const auto put = there.index_select(0, places);
    const auto rows = put.nonzero().squeeze(1), others = put.logical_not().nonzero().squeeze(1);
    std::vector<int64_t> shape{places.numel()};
    shape.insert(shape.end(), originals.shape().begin(), originals.shape().end());
    auto images = at::empty(shape, at::kFloat);
    read(places.index_select(0, rows), rows, images);
    images = uploaded(images, originals.y.device());
    const auto to = uploaded(others, images.device());
    if (others.numel() > 0) images.index_copy_(0, to, originals.select(places.index_select(0, others)).x);
    return images;
  }
};

ImageStore::ImageStore(ImageSet originals) : held_(std::make_shared<Held>(std::move(originals))) {}

void ImageStore::put(const Tensor& places, const Tensor& images) {
  if (places.numel() == 0) return;
  held_->write(places, images);
}

Tensor ImageStore::select(const Tensor& places) const { return held_->select(places); }

Tensor ImageStore::all() const { return held_->select(at::arange(held_->originals.size())); }

ImageSet ImageStore::set() const {
  const auto& o = held_->originals;
  return {[held = held_](const Tensor& places) { return held->select(places); }, o.shape(), o.y, o.index, o.scratch()};
}

}  // namespace hpm
