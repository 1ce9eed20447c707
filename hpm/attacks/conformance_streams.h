// defines: ConformanceStreams
#pragma once
#include "hpm/core/random.h"

namespace hpm {

/// The draws of the official AutoAttack code: LibTorch's default CPU generator, seeded anew when an attack begins, in
/// the order and shapes of that code ([M, tail...] at once, so that a row's numbers depend on the batch it stands in;
/// images' numbers and purposes are not looked at). A random model on the CPU takes its noise from the same generator,
/// so that its draws interleave as they do there. Changes the state of the global generator.
class ConformanceStreams : public RandomStreams {
 public:
  using RandomStreams::RandomStreams;
  Tensor uniform(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t position = 0) const override;
  Tensor normal(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t position = 0) const override;
  void begin_attack() const override;
};

}  // namespace hpm
