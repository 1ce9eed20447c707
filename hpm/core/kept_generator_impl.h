// defines: KeptGenerator
#pragma once
#include <ATen/Context.h>

namespace hpm {

/// What a look at a random model takes from the global generator is put back: the attacks draw as if nobody had looked.
class KeptGenerator {
 public:
  ~KeptGenerator() { generator_.set_state(state_); }
  KeptGenerator() = default;
  KeptGenerator(const KeptGenerator&) = delete;
  KeptGenerator& operator=(const KeptGenerator&) = delete;

 private:
  at::Generator generator_ = at::globalContext().defaultGenerator(at::kCPU);
  at::Tensor state_ = generator_.get_state();
};

}  // namespace hpm
