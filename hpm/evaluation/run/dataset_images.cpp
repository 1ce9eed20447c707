#include "hpm/evaluation/run/dataset_images.h"

#include "hpm/io/sha256.h"

namespace hpm {

std::string sha256_of_images(const Dataset& data, const Tensor& index) {
  Sha256 hash;
  const auto update = [&](const Tensor& tensor) {
    const auto t = tensor.contiguous();
    hash.update({static_cast<const std::byte*>(t.data_ptr()), t.nbytes()});
  };
  update(index), update(data.labels.index_select(0, index));
  for (const auto& some : index.split(256)) {
    const bool files = data.reader && !data.reader->path(some[0].item<int64_t>()).empty();
    if (!files) update(data.reader ? data.reader->read(some) : data.pixels.index_select(0, some));
    for (int64_t i = 0; files && i < some.numel(); ++i) {
      const auto of_file = sha256_of_file(data.reader->path(some[i].item<int64_t>()));
      hash.update(std::as_bytes(std::span(of_file)));
    }
  }
  return hash.hex();
}

ImageSet image_set(const Dataset& data, const Tensor& index, at::Device device, const std::string& scratch) {
  return {[data, index](const Tensor& places) { return data.images(index.index_select(0, places)); },
          data.image_shape(), data.labels.index_select(0, index).to(device), index, scratch};
}

}  // namespace hpm
