// defines: ReferenceOperations, SearchOperations, fast_operations()
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

/// For its lifetime, networks on this thread compute as PyTorch's own layers do, bit for bit.
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

/// For its lifetime, passes on this thread are an attack's search, also those without a gradient: they may be computed
/// in a faster way that differs in last bits. What an attack finds is judged by passes outside of it.
class SearchOperations {
 public:
  SearchOperations();
  ~SearchOperations();
  SearchOperations(const SearchOperations&) = delete;
  SearchOperations& operator=(const SearchOperations&) = delete;

 private:
  bool before_;
};

/// Whether a layer may be computed in such a way on x: on the CPU, in a search, or where x's gradient is wanted.
bool fast_operations(const at::Tensor& x);

}  // namespace hpm
