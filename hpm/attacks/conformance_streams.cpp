#include "hpm/attacks/conformance_streams.h"

#include <ATen/Context.h>

namespace hpm {
namespace {

at::Generator generator() { return at::globalContext().defaultGenerator(at::kCPU); }

std::vector<int64_t> with_rows(const Tensor& index, at::IntArrayRef tail) {
  std::vector<int64_t> shape{index.size(0)};
  shape.insert(shape.end(), tail.begin(), tail.end());
  return shape;
}

}  // namespace

ConformanceStreams::ConformanceStreams(uint64_t seed) : RandomStreams(seed), before_(generator().get_state()) {}

ConformanceStreams::~ConformanceStreams() {
  auto shared = generator();
  shared.set_state(before_);
}

// In the default floating point type, like the authors' torch.rand and torch.randn.
Tensor ConformanceStreams::uniform(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t) const {
  return at::rand(with_rows(index, tail));
}
Tensor ConformanceStreams::normal(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t) const {
  return at::randn(with_rows(index, tail));
}
void ConformanceStreams::begin_attack() const { torch::manual_seed(seed()); }

}  // namespace hpm
