// defines: Images, ImageSet, for_chunks()
#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace hpm {

using at::Tensor;

/// The images under attack.
struct Images {
  Tensor x;                  ///< [N,C,H,W] in [0,1], the originals
  Tensor y;                  ///< [N] int64 labels
  Tensor index;              ///< [N] int64 (CPU): their numbers in the data set, which choose their random streams
  Tensor clean_logits = {};  ///< [N,K]: the target model's logits at x, where they are known already
  /// [N] int64 (CPU), where several runs of an attack are made at once: which of them the row belongs to. An image then
  /// has a row in each.
  Tensor run = {};
  int64_t size() const { return y.size(0); }
  Images select(const Tensor& rows) const;  ///< rows [M] int64 or bool [N]
};

/// Images whose pixels are loaded when they are asked for, so that the memory of an evaluation does not grow with their
/// number; or images in memory. Copies share their content.
class ImageSet {
 public:
  /// Pixels [M,C,H,W] float32 in [0,1] for places [M] int64 (CPU) in the set.
  using Loader = std::function<Tensor(const Tensor& places)>;

  ImageSet() = default;
  /// Images in memory are a set too. Throws UsageError where the sizes do not fit.
  ImageSet(Images images);  // NOLINT(google-explicit-constructor)
  ImageSet(Tensor x, Tensor y, Tensor index) : ImageSet(Images{std::move(x), std::move(y), std::move(index)}) {}
  /// y, index [N]; `shape` {C,H,W}. Chunks are moved to the device of y. Adversarial versions are kept in an unnamed
  /// file in the folder `scratch`.
  ImageSet(Loader load, std::vector<int64_t> shape, Tensor y, Tensor index, std::string scratch);

  int64_t size() const { return y.defined() ? y.size(0) : 0; }
  const std::vector<int64_t>& shape() const { return shape_; }  ///< {C,H,W}
  bool in_memory() const { return images_.x.defined(); }
  const std::string& scratch() const { return scratch_; }

  Images select(const Tensor& rows) const;         ///< rows [M] int64 or bool [N], loaded
  Images slice(int64_t begin, int64_t end) const;  ///< rows begin .. end-1, loaded
  ImageSet subset(const Tensor& rows) const;       ///< rows [M] int64 or bool [N], nothing loaded
  ImageSet with_pixels(Loader load) const;         ///< other versions of the same images

  Tensor y;      ///< [N] int64 labels
  Tensor index;  ///< [N] int64 (CPU): numbers in the data set

 private:
  Images images_;
  Loader load_;
  std::vector<int64_t> shape_;
  std::string scratch_;
};

/// Calls `f(chunk, first row)` for consecutive chunks of at most `size` rows.
template <class F>
void for_chunks(const ImageSet& images, int64_t size, F f) {
  for (int64_t begin = 0; begin < images.size(); begin += size)
    f(images.slice(begin, std::min(begin + size, images.size())), begin);
}

}  // namespace hpm
