// defines: NoiseFgsm, RandomStartFgsm
#pragma once
#include "hpm/training/objectives/method.h"

namespace hpm {

/// N-FGSM (de Jorge et al., "Make some noise: reliable and efficient single-step adversarial training", NeurIPS 2022,
/// arXiv:2202.01181, algorithm 1): the cross-entropy on
///
///     x' = x + eta + alpha sign(grad CE(f(x + eta), y)),   eta uniform in the ball of radius `noise` eps
///
/// clamped to the box, but not projected onto the ball; alpha = eps unless a step size is given.
class NoiseFgsm : public TrainingMethod {
 public:
  explicit NoiseFgsm(const MethodOptions& options) : noise_(options.noise), smoothing_(options.label_smoothing) {}
  Tensor search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                const RandomStreams& streams) const override;
  Tensor loss(const LossInput& input) const override;

 private:
  double noise_, smoothing_;
};

/// FGSM from a random start (Wong et al., "Fast is better than free", ICLR 2020, arXiv:2001.03994): one step of
/// 1.25 eps (unless a step size is given) from a point of the ball, projected; with GradAlign (Andriushchenko and
/// Flammarion, NeurIPS 2020, arXiv:2007.02617, eq. 6):
///
///     L = CE(f(x'), y) + grad_align (1 - cos(grad_x CE(f(x), y), grad_x CE(f(x + eta), y)))
///
/// averaged over images, eta uniform in the ball. As in the authors' code only the second gradient is differentiated.
class RandomStartFgsm : public TrainingMethod {
 public:
  explicit RandomStartFgsm(const MethodOptions& options)
      : grad_align_(options.grad_align), smoothing_(options.label_smoothing) {}
  Tensor search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                const RandomStreams& streams) const override;
  Tensor loss(const LossInput& input) const override;
  Tensor regulariser(Classifier& classifier, const TrainingBatch& batch, const AdversaryOptions& options,
                     const RandomStreams& streams) const override;

 private:
  double grad_align_, smoothing_;
};

}  // namespace hpm
