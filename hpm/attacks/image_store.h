// defines: ImageStore
#pragma once
#include <memory>

#include "hpm/attacks/images.h"

namespace hpm {

/// Adversarial versions of the images of a set; the original where none was put. They are in memory if the originals
/// are, otherwise in a file without a name, which ends with the process. Copies share their content.
class ImageStore {
 public:
  ImageStore() = default;
  explicit ImageStore(ImageSet originals);
  bool defined() const { return held_ != nullptr; }
  /// places [P] int64 (CPU), images [P,C,H,W] float32. Throws Error where the disk is full.
  void put(const Tensor& places, const Tensor& images);
  Tensor select(const Tensor& places) const;  ///< [P,C,H,W] on the device of the originals
  Tensor all() const;                         ///< [N,C,H,W]
  ImageSet set() const;                       ///< as images under attack, with the originals' labels and numbers

 private:
  struct Held;
  std::shared_ptr<Held> held_;
};

}  // namespace hpm
