// defines: ReferenceOperations, SearchOperations, fast_operations()
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

/// While an object of this class exists, networks on this thread compute exactly as PyTorch's own layers do, bit for
/// bit.
class ReferenceOperations {
 public:
  explicit ReferenceOperations(bool wanted);
  ~ReferenceOperations();
  ReferenceOperations(const ReferenceOperations&) = delete;
  ReferenceOperations& operator=(const ReferenceOperations&) = delete;
  static bool wanted();

 private:
  bool before_;
};

/// While an object of this class exists, all passes on this thread count as an attack's search, also those without a
/// gradient. Faster algorithms may compute them, whose results differ in the last bits. What an attack finds is
/// confirmed by passes outside of it.
class SearchOperations {
 public:
  SearchOperations();
  ~SearchOperations();
  SearchOperations(const SearchOperations&) = delete;
  SearchOperations& operator=(const SearchOperations&) = delete;

 private:
  bool before_;
};

/// Whether a faster algorithm may compute a layer on x: on the CPU, in a search or where x's gradient is wanted, and
/// not under ReferenceOperations.
bool fast_operations(const at::Tensor& x);

}  // namespace hpm
