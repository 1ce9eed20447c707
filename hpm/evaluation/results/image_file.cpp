#include "hpm/evaluation/results/image_file.h"

#include "hpm/core/torch_impl.h"
#include "hpm/io/file.h"
#include "hpm/io/safetensors.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

std::span<const std::byte> bytes_of(const Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

}  // namespace

void write_image_file(const std::string& path, const ImageSet& images, int64_t batch_size, bool eight_bits) {
  const auto write = [&](AtomicFile& file) {
    for_chunks(images, batch_size, [&](const Images& chunk, int64_t) {
      const auto x = eight_bits ? (chunk.x * 255).round().to(at::kByte) : chunk.x;
      file.write(bytes_of(x.to(at::kCPU).contiguous()));
    });
  };
  std::vector<int64_t> shape{images.size()};
  shape.insert(shape.end(), images.shape().begin(), images.shape().end());
  const auto labels = images.y.to(at::kCPU).contiguous(), index = images.index.contiguous();
  write_safetensors(path, std::vector<SafetensorsEntry>{
                              {"images", eight_bits ? ScalarType::uint8 : ScalarType::float32, shape, {}, write},
                              {"labels", ScalarType::int64, {images.size()}, bytes_of(labels)},
                              {"index", ScalarType::int64, {images.size()}, bytes_of(index)}});
}

ImageSet read_image_file(const std::string& path, const ImageSet& images) {
  return images.with_pixels([path](const Tensor& places) {
    const auto rows = places.contiguous();
    return to_tensor(
        read_safetensors_rows(path, "images", {rows.const_data_ptr<int64_t>(), static_cast<size_t>(rows.numel())}));
  });
}

}  // namespace hpm
