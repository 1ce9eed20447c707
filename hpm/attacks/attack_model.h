// defines: AttackModel, Query, Answer, Coupling, ClassifierModel, AttackResult
#pragma once
#include <ATen/core/Tensor.h>

#include "hpm/attacks/confirmation.h"
#include "hpm/attacks/images.h"
#include "hpm/attacks/losses.h"
#include "hpm/models/classifier.h"

namespace hpm {

/// Points to be judged. The rows may be any selection of the images, in any order, with repetitions.
struct Query {
  Tensor x;          ///< [N,C,H,W] in [0,1]
  Tensor index;      ///< [N] int64 (CPU): which image each row is a version of, so that a context can follow it
  int64_t draw = 0;  ///< of random models: which of their draws
};

struct Answer {
  Tensor target_logits;  ///< [N,K], detached: the verdict is their argmax, whatever the surrogate
  Tensor loss;           ///< [N], detached; [N,K] for LossKind::logits; undefined without a loss
  Tensor gradient;       ///< of the surrogate's loss with respect to x: like x ([N,K,C,H,W] for LossKind::logits)
};

/// Whether a row's answer depends on the other rows of the query.
enum class Coupling {
  rows,   ///< independent: rows may be dropped and repacked freely
  batch,  ///< the whole query is one object (context joint): same rows, same order, every time
};

/// What an attack sees: a prediction to break (the target) and a differentiable stand-in for it (the surrogate), which
/// for an undefended network are the same. Attacks never know what is behind it.
class AttackModel {
 public:
  virtual ~AttackModel() = default;
  /// Without a loss: the verdict alone (Square, FAB's checks). With one: loss and gradient of the surrogate too, from
  /// the same pass of the backbone.
  virtual Answer ask(const Query& query, const Loss* loss) = 0;
  /// Whether the surrogate has logits that are not the target's; then targeted attacks also aim at the classes that
  /// these rank high.
  virtual bool has_surrogate_logits() const { return false; }
  /// They, [N,K], without a gradient.
  virtual Tensor surrogate_logits(const Query& query) { return ask(query, nullptr).target_logits; }
  virtual Coupling coupling() const { return Coupling::rows; }
  virtual bool random() const { return false; }
  /// Whether something beside the target's own verdict depends on which iterates are asked about: the other targets
  /// that are judged by them.
  virtual bool shares_iterates() const { return false; }
  virtual int64_t classes() const = 0;
  virtual Passes passes() const = 0;  ///< image passes of the networks behind it, so far
};

/// A classifier as it is: target and surrogate are its logits.
class ClassifierModel : public AttackModel {
 public:
  explicit ClassifierModel(Classifier classifier, bool random = false);
  Answer ask(const Query& query, const Loss* loss) override;
  bool random() const override { return random_; }
  int64_t classes() const override { return classifier_.classes(); }
  Passes passes() const override { return classifier_.passes(); }

 private:
  Classifier classifier_;
  Confirmation confirmation_;  // of a search in reduced precision
  bool random_;
};

/// Loss and gradient with respect to the leaf `x` from logits that depend on it; what most AttackModels share.
void differentiate(const Tensor& x, const Tensor& logits, const Loss& loss, Answer& answer);
/// Loss [N] and gradient from row losses that depend on the leaf `x`.
void differentiate_rows(const Tensor& x, const Tensor& row_losses, Answer& answer);

/// The target's logits [N,K] at the originals: those that are known, or one pass.
Tensor clean_logits(AttackModel& model, const Images& images);

/// What an attack found.
struct AttackResult {
  Tensor images;  ///< [N,C,H,W]: the adversarial image where broken, else the original
  Tensor broken;  ///< [N] bool: the target's prediction was wrong at `images` when the attack saw it
  /// [N]: how near an image came to being broken: the smallest z_y - max_{i!=y} z_i of the target's logits at any
  /// iterate inside the threat model, in units of the spread of the image's clean logits (logit_spread), so that it
  /// does not depend on the scale of the logits; infinite where an image was not attacked. Undefined for attacks that
  /// do not measure it.
  Tensor margin = {};
};

}  // namespace hpm
