// defines: DefenceTarget, Defence, predict_once(), leading_surrogate(), largest_batch(), attacked_targets(),
// targets_beside()
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// A prediction of a defence: what attacks have to break.
struct DefenceTarget {
  std::string name = {};  ///< e.g. the context of an HPM model; empty for a plain model
  Coupling coupling = Coupling::rows;
  /// An earlier target that is the same function of the image: its figures stand for this one too.
  std::optional<size_t> same_as = {};
  /// Not attacked itself: it judges the iterates of the attacks on this target.
  std::optional<size_t> beside = {};
  std::optional<double> lambda = {};  ///< of an HPM head: the mixing weight that it predicts by
  bool draw = false;                  ///< beside another one: one of its random draws, not another mixing weight
  bool has_company = false;  ///< predictions depend on other images: on their clean versions, or on the batch as it is
  bool swept() const { return beside && !draw; }
};

/// A defended model as the Mixed Surrogate Attack sees it: one network pass, one or more predictions made from it, and
/// for each of them the surrogates that an attacker has. A new defence is a class of its own in a file pair.
class Defence {
 public:
  virtual ~Defence() = default;
  virtual int64_t classes() const = 0;  ///< K
  /// Those that are attacked come first, in the order reported; then those that only judge.
  virtual const std::vector<DefenceTarget>& targets() const = 0;
  /// One pass of the defended network: x [N,C,H,W] in [0,1] -> features and network logits, with a gradient where the
  /// caller records one.
  virtual Output run(const Tensor& x) = 0;
  /// The logits [N,K] of each target's prediction, from a pass over versions of the images `index` [N]. Undefined for a
  /// target whose batch is one object (Coupling::batch) unless the rows are a `whole_batch`.
  virtual std::vector<Tensor> predict_all(const Output& pass, const Tensor& index, bool whole_batch) = 0;
  /// False where each target needs passes of its own (a prediction that depends on the other images of its batch, or on
  /// random draws): then an attack on one target is judged for that target alone.
  virtual bool one_pass_for_all() const { return true; }
  /// The logits of one target.
  virtual Tensor predict(const Output& pass, const Tensor& index, size_t target) = 0;
  /// The surrogates of an attacked target that `selection` names, in the order in which they attack.
  virtual std::vector<Surrogate> surrogates(size_t target, const SurrogateSelection& selection) const = 0;
  /// How many starts of each attack the white-box surrogates of a target get together at least: an undefended model
  /// under the same selection gets as many.
  virtual int64_t starts(const SurrogateSelection& selection) const = 0;
  /// Of Coupling::batch: the fixed batches, as image numbers [B] int64 (CPU).
  virtual std::vector<Tensor> batches() const { return {}; }
  /// Coupling::batch: whether the pass itself treats rows independently, so that the coupling lies behind it.
  virtual bool row_wise_pass() const { return true; }
  virtual bool random() const { return false; }         ///< the same query may be answered differently
  virtual bool differentiable() const { return true; }  ///< false: a black box, whose pass records no gradient
  /// False where a pass with a gradient runs in reduced precision, so that what it calls wrong must be confirmed.
  virtual bool exact_search() const { return true; }
  virtual bool search_tf32() const { return false; }  ///< TF32 in a search's products and convolutions, on a GPU
  /// Image passes that one row's prediction takes: more than one where it needs its company, or several draws.
  virtual int64_t passes_per_row(size_t) const { return 1; }
  virtual Passes passes() const = 0;  ///< image passes of the defended network, so far
  /// A target as the attacks see it: its prediction is the verdict, its leading surrogate gives the gradients.
  virtual std::unique_ptr<AttackModel> attack_model(size_t target);
};

/// Target logits [N,K] of one pass over the rows of a query, without gradients.
Tensor predict_once(Defence& defence, const Query& query, size_t target);

/// What an attack with one surrogate would use; none where none leads.
std::optional<Surrogate> leading_surrogate(const Defence& defence, size_t target);

/// Images of the largest fixed batch; 0 where there are none.
int64_t largest_batch(const Defence& defence);

/// The targets that are attacked: neither `same_as` nor `beside` another one.
std::vector<size_t> attacked_targets(const Defence& defence);

/// The targets that judge beside `target`.
std::vector<size_t> targets_beside(const Defence& defence, size_t target);

}  // namespace hpm
