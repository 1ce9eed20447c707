// defines: HpmAttackModel, Judge, JudgedTarget
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/attacks/image_store.h"
#include "hpm/core/norms.h"
#include "hpm/prototypes/model.h"
#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// A prediction that iterates are judged by: a context and a mixing weight.
struct JudgedTarget {
  Context context;
  std::optional<double> lambda = {};  ///< the head's own
};

/// Notes which images any iterate inside the ball and the box broke, for several targets at once: the backbone's pass
/// is shared, the heads are cheap. In the context joint the whole batch must lie inside. (FAB, and APGD's first stages
/// for L1, look outside too.)
class Judge {
 public:
  /// On a GPU the answers to some queries (compaction_period(compaction)) are looked at together.
  Judge(ImageSet images, const ThreatModel& threat, std::vector<JudgedTarget> targets, int64_t compaction = 0);
  /// The prediction's logits [N,K] for each target; undefined for joint unless the query is a `whole_batch`.
  std::vector<Tensor> logits(const Query& query, const HpmHead& head, const Tensor& z, const Tensor& o,
                             bool whole_batch) const;
  /// Judges a query by its features and FC logits; gives logits().
  std::vector<Tensor> see(const Query& query, const HpmHead& head, const Tensor& z, const Tensor& o,
                          bool whole_batch = false);
  /// Which targets' predictions logits() calls wrong that were not broken yet, [targets,N] bool (CPU).
  Tensor fresh(const Query& query, const std::vector<Tensor>& logits);
  /// What is broken from now on was found by `source`.
  void name_source(const std::string& source);
  /// Judges a query by what logits() gave.
  void note(const Query& query, const std::vector<Tensor>& logits);
  /// The targets' predictions for the rows of a query are wrong where `wrong` [targets,N].
  void note(const Query& query, const Tensor& wrong);
  /// Takes over what another run noted: `places` [P] int64 (positions in the images), with the images [P,C,H,W].
  void restore(size_t target, const Tensor& places, const Tensor& images);
  /// A break that a fresh pass did not confirm is none.
  void forget(size_t target, const Tensor& places);
  /// Positions in the images, [N], of their numbers [N].
  Tensor places(const Tensor& index) const { return position_.index_select(0, index); }
  const std::vector<JudgedTarget>& targets() const { return targets_; }
  /// Which of the targets `target` is, if any.
  std::optional<size_t> find(const JudgedTarget& target) const;
  Tensor broken(size_t target);  ///< [n] bool
  /// The source of the iterate that broke an image, "" where none did.
  const std::string& source(size_t target, int64_t place);
  /// The first iterate that broke each image, and the original where none did.
  const ImageStore& images(size_t target);

 private:
  struct Noted {
    Query query;
    Tensor wrong;
  };
  void settle();  ///< looks at what was put off
  Tensor wrong(const Query& query, const std::vector<Tensor>& logits) const;
  void take(const Noted& noted);
  Tensor inside(const Query& query, const Tensor& rows) const;  ///< [M] bool (CPU): of the rows [M] of the query

  ImageSet originals_;
  ThreatModel threat_;
  Tensor position_;
  std::vector<JudgedTarget> targets_;
  std::vector<std::vector<size_t>> groups_;  ///< targets that differ in lambda alone
  Tensor broken_;                            ///< [targets,n] bool
  std::vector<std::string> names_{""};       ///< of sources, the present one last
  std::vector<std::vector<size_t>> source_;  ///< of each target and image, among names_
  std::vector<ImageStore> images_;
  size_t period_;
  std::vector<Noted> pending_;
};

/// A defended model as attacks see it: the surrogate gives gradients, the hard prediction in the context gives
/// verdicts, from the same pass of the backbone.
class HpmAttackModel : public AttackModel {
 public:
  HpmAttackModel(HpmModel model, JudgedTarget target, Surrogate surrogate, Peers peers = {}, Judge* judge = nullptr);
  /// Standard deviations of the clean FC and HPM logits, for the region surrogate.
  void set_scales(double fc, double hpm) { scale_o_ = fc, scale_l_ = hpm; }

  Answer ask(const Query& query, const Loss* loss) override;
  bool has_surrogate_logits() const override { return surrogate_.logits != nullptr; }
  Tensor surrogate_logits(const Query& query) override;
  Coupling coupling() const override;
  int64_t classes() const override { return model_.classifier.classes(); }
  Passes passes() const override;

 private:
  SurrogateInput input(const Tensor& x, const Output& out, const Tensor& index) const;
  Tensor judge(const Query& query, const Output& out);
  Tensor judge_confirmed(const Query& query, const Output& out, const Loss& loss);
  bool breaks_a_batch(const Query& query, const std::vector<Tensor>& logits) const;

  HpmModel model_;
  HpmHead head_;  // with the target's lambda
  JudgedTarget target_;
  Surrogate surrogate_;
  Peers peers_;
  Judge* judge_;
  std::optional<size_t> own_;  ///< the target's place in the judge
  double scale_o_ = 1, scale_l_ = 1;
};

}  // namespace hpm
