// defines: CallableSurrogate, CallableDefence
#pragma once
#include "hpm/defences/defence.h"
#include "hpm/prototypes/model.h"
#include "python_object.h"

namespace hpm::python {

/// A differentiable stand-in written in Python: images [N,C,H,W] -> logits [N,K].
struct CallableSurrogate {
  std::string name, summary;
  SharedObject call;
};
Surrogate as_surrogate(const CallableSurrogate& surrogate, int64_t classes);

/// A defence written in Python whose prediction for an image depends on the whole batch: one target, attacked in fixed
/// batches of `company` images, in the order in which the images come. Its surrogates are its own gradient (named
/// `self`), those given, the peers, and queries.
class CallableDefence : public Defence {
 public:
  CallableDefence(Classifier target, std::vector<Surrogate> surrogates, const Peers& peers, const Tensor& index,
                  int64_t company);
  int64_t classes() const override { return target_.classes(); }
  const std::vector<DefenceTarget>& targets() const override { return targets_; }
  Output run(const Tensor& x) override { return target_.run(x); }
  std::vector<Tensor> predict_all(const Output& pass, const Tensor& index, bool whole_batch) override;
  Tensor predict(const Output& pass, const Tensor&, size_t) override { return pass.logits; }
  std::vector<Surrogate> surrogates(size_t target, const SurrogateSelection& selection) const override;
  int64_t starts(const SurrogateSelection& selection) const override;
  std::vector<Tensor> batches() const override { return batches_; }
  bool row_wise_pass() const override { return false; }
  Passes passes() const override { return target_.passes(); }

 private:
  Classifier target_;
  std::vector<Surrogate> surrogates_;
  std::vector<DefenceTarget> targets_;
  std::vector<Tensor> batches_;
};

}  // namespace hpm::python
