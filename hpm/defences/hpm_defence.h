// defines: HpmDefence, clean_pass()
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "hpm/attacks/images.h"
#include "hpm/defences/defence_options.h"
#include "hpm/io/journal.h"
#include "hpm/prototypes/model.h"

namespace hpm {

/// An HPM model as a defence. Its targets are the contexts asked for. With lambda = 1 nothing is dynamic, every context
/// is the same l2 classifier, and the first context asked for is attacked for all of them.
class HpmDefence : public Defence {
 public:
  /// `images`: those to be evaluated, whose clean versions are each other's company in solo and joint. The clean pass
  /// is kept in `log`. Throws UsageError for a context named twice, or without the statistics that it needs.
  HpmDefence(HpmModel model, const ImageSet& images, DefenceOptions options, const WorkLog& log = {});

  int64_t classes() const override { return model_.classifier.classes(); }
  const std::vector<DefenceTarget>& targets() const override { return targets_; }
  Output run(const Tensor& x) override { return model_.run(x); }
  std::vector<Tensor> predict_all(const Output& pass, const Tensor& index, bool whole_batch) override;
  Tensor predict(const Output& pass, const Tensor& index, size_t target) override;
  std::vector<Surrogate> surrogates(size_t target, const SurrogateSelection& selection) const override;
  int64_t starts(const SurrogateSelection& selection) const override;
  std::vector<Tensor> batches() const override;
  bool exact_search() const override { return model_.classifier.exact_search(); }
  bool search_tf32() const override { return model_.classifier.search_tf32(); }
  Passes passes() const override { return model_.classifier.passes(); }

  const HpmModel& model() const { return model_; }
  const Context& context(size_t target) const { return judged_[target].context; }

 private:
  /// What a target predicts by.
  struct Judged {
    Context context;
    double lambda;
  };
  void add_target(DefenceTarget target, Context context, double lambda);
  void make_companies(const ImageSet& images, const WorkLog& log);
  void group_targets();
  HpmHead head_of(size_t target) const;

  HpmModel model_;
  DefenceOptions options_;
  std::shared_ptr<const Company> company_;
  std::vector<std::shared_ptr<const Company>> draws_;  ///< of solo-eot
  Tensor clean_z_, clean_o_, index_;                   ///< [n,D], [n,K], [n]: of the images; made when needed
  std::vector<DefenceTarget> targets_;
  std::vector<Judged> judged_;
  std::vector<std::vector<size_t>> groups_;  ///< targets that differ in lambda alone: computed together
  std::vector<LogitScales> scales_;          ///< of each target
};

/// Features [n,D] and FC logits [n,K] of the images as they are, from one pass in fixed batches. Kept in the log, whose
/// processes share it: another number of threads on resume could move a neighbour's prediction, and with it everyone's
/// verdict.
Output clean_pass(const HpmModel& model, const ImageSet& images, int64_t batch_size, const WorkLog& log);

}  // namespace hpm
