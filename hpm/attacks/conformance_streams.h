// defines: ConformanceStreams
#pragma once
#include "hpm/core/random.h"

namespace hpm {

/// The draws of the official AutoAttack code: LibTorch's default CPU generator, seeded anew when an attack begins, in
/// the order and shapes of that code. One call draws [M, tail...] at once, so a row's numbers depend on the batch that
/// it stands in; numbers and purposes of images are ignored. A random model on the CPU takes its noise from the same
/// generator, as it does with the official code. While these streams live, the state of that generator is theirs; when
/// they go, it is again what it was before they were made.
class ConformanceStreams : public RandomStreams {
 public:
  explicit ConformanceStreams(uint64_t seed);
  ~ConformanceStreams() override;
  ConformanceStreams(const ConformanceStreams&) = delete;
  ConformanceStreams& operator=(const ConformanceStreams&) = delete;
  Tensor uniform(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t position = 0) const override;
  Tensor normal(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t position = 0) const override;
  void begin_attack() const override;

 private:
  Tensor before_;  // the generator's state when these streams were made
};

}  // namespace hpm
