// defines: Observer
#pragma once
#include <string>
#include <vector>

#include "hpm/attacks/image_store.h"
#include "hpm/core/norms.h"
#include "hpm/defences/defence.h"
#include "hpm/defences/finding.h"

namespace hpm {

/// Looks at every iterate of every attack and notes, for all targets of a defence at once, which images it breaks. The
/// network's pass is shared, the predictions are cheap. Only iterates inside the ball and the box count; of a coupled
/// batch, only a whole batch inside. (FAB, and the first stages of APGD for L1, look outside too.)
class Observer {
 public:
  /// On a GPU the answers to several queries are looked at together (compaction_period(compaction)).
  Observer(ImageSet images, const ThreatModel& threat, const Defence& defence, int64_t compaction = 0);

  /// What is broken from now on was found by `finder`. Where it attacks the independent rows of `target`, a row that
  /// breaks has left the attack: its later iterates are not looked at. (How long an attack carries broken rows along
  /// depends on the batch they are in; verdicts must not.)
  void begin_attack(const Finding& finder, std::optional<size_t> target = {});
  /// Looks at a query's target logits, as Defence::predict gives them.
  void observe(const Query& query, const std::vector<Tensor>& logits);
  /// Looks at a query whose rows are wrong where `wrong` [targets,N] bool.
  void observe(const Query& query, const Tensor& wrong);
  /// Which rows the logits call wrong for a target that no iterate has broken yet: [targets,N] bool (CPU).
  Tensor new_breaks(const Query& query, const std::vector<Tensor>& logits);

  /// Takes over breaks found elsewhere: `places` [P] int64 (positions in the images), with the images [P,C,H,W].
  void record(size_t target, const Tensor& places, const Tensor& images);
  /// A break that a fresh pass did not confirm is none.
  void forget(size_t target, const Tensor& places);

  /// Positions in the images, [N] int64 (CPU), of image numbers [N].
  Tensor places(const Tensor& index) const { return position_.index_select(0, index); }
  Tensor broken(size_t target);                   ///< [n] bool (CPU)
  const ImageStore& images(size_t target);        ///< the first iterate that broke each image, else the original
  Finding finding(size_t target, int64_t place);  ///< what broke an image; none where nothing did

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
  std::vector<Coupling> couplings_;            ///< of the targets
  Tensor position_;                            ///< of image numbers among the images
  Tensor broken_;                              ///< [targets,n] bool
  std::optional<size_t> attacked_;             ///< the target whose broken rows leave the present attack
  Tensor left_;                                ///< [n] bool: they did
  std::vector<Finding> finders_{Finding{}};    ///< the present one last
  std::vector<std::vector<size_t>> found_by_;  ///< of each target and image, among finders_
  std::vector<ImageStore> images_;
  size_t period_;
  std::vector<Noted> pending_;
};

}  // namespace hpm
