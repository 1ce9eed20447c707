// defines: PredictionFunction, FunctionDefenceOptions, FunctionDefence
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hpm/attacks/images.h"
#include "hpm/defences/defence.h"

namespace hpm {

/// A prediction that someone defends: any function of images.
struct PredictionFunction {
  /// x [N,C,H,W] in [0,1] -> logits [N,K], with a gradient where the caller records one and the function has one.
  std::function<Tensor(const Tensor& x)> logits;
  int64_t classes = 0;  ///< K
  /// Coupling::batch: what it says of an image depends on the images beside it.
  Coupling coupling = Coupling::rows;
  bool random = false;         ///< it draws from LibTorch's default generator
  bool differentiable = true;  ///< false: only queries, transfer and stand-ins can attack it
  bool exact_gradient = true;  ///< false: its gradient is an approximation (a straight-through backward pass, say)
};

struct FunctionDefenceOptions {
  /// Of this defence, after its own gradient. Where a prediction needs the images (Coupling::batch, random) they get
  /// images alone, no features and no logits; of a random function, each is averaged over `draws`.
  std::vector<Surrogate> surrogates = {};
  std::vector<std::string> always = {};  ///< names of those that attack also where others are named
  /// Of Coupling::batch: alone (in a batch of its own), solo (among the clean images of its fixed batch), joint (its
  /// fixed batch is one object). Otherwise there is one target, without a name.
  std::vector<std::string> contexts = {"alone", "solo", "joint"};
  int64_t company_size = 128;  ///< images in a batch of solo and joint
  uint64_t company_seed = 0;   ///< order of the images in those batches; 0: as they come
  bool by_class = false;       ///< the batches are made of images sorted by class
  int64_t draws = 10;          ///< of a random function: for a verdict, and for a gradient
  uint64_t seed = 0;           ///< of those draws
};

/// Any function of images as a defence: with rows that depend on each other, with random numbers, or without a
/// gradient. A random function is judged by the votes of fixed draws: its answer is the class that more draws give than
/// any other, and the largest mean logit decides a tie. Its own gradient is the average over draws (expectation over
/// transformation; Athalye et al., arXiv:1707.07397), the surrogate `eot`; its stand-ins are averaged likewise.
///
/// Example: examples/04_own_defence.cpp
class FunctionDefence : public Defence {
 public:
  /// `images`: those to be evaluated; their clean versions are each other's company in solo and joint. Throws
  /// UsageError for a context that is none of these, or is named twice.
  FunctionDefence(PredictionFunction function, const ImageSet& images, FunctionDefenceOptions options = {});

  int64_t classes() const override { return function_.classes; }
  const std::vector<DefenceTarget>& targets() const override { return targets_; }
  Output run(const Tensor& x) override;
  std::vector<Tensor> predict_all(const Output& pass, const Tensor& index, bool whole_batch) override;
  Tensor predict(const Output& pass, const Tensor& index, size_t target) override;
  std::vector<Surrogate> surrogates(size_t target, const SurrogateSelection& selection) const override;
  int64_t starts(const SurrogateSelection& selection) const override;
  std::vector<Tensor> batches() const override;
  bool differentiable() const override { return function_.differentiable; }
  bool one_pass_for_all() const override { return !by_images_; }
  int64_t passes_per_row(size_t target) const override;
  Passes passes() const override { return *passes_; }

 private:
  struct Company;
  Tensor logits(const Tensor& x) const;
  Tensor in_context(const Tensor& x, const Tensor& index, size_t target) const;
  Tensor votes(const Tensor& x, const Tensor& index, size_t target) const;
  Surrogate own_gradient(size_t target) const;
  Surrogate of_images(Surrogate surrogate) const;

  PredictionFunction function_;
  FunctionDefenceOptions options_;
  std::shared_ptr<const Company> company_;
  std::vector<DefenceTarget> targets_;
  bool by_images_;  ///< a prediction needs the images themselves: a pass is not shared
  std::shared_ptr<Passes> passes_ = std::make_shared<Passes>();
};

}  // namespace hpm
