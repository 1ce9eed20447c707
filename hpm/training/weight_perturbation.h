// defines: WeightPerturbation, AwpOptions, with_awp()
#pragma once
#include "hpm/core/fields.h"
#include "hpm/training/objective.h"

namespace hpm {

struct AwpOptions {
  double gamma = 0;    ///< length of the perturbation over the weight's own; 0: none
  int64_t warmup = 0;  ///< epochs without it at first
};
void fields(Fields& f, AwpOptions& o);

/// Adversarial weight perturbation (AWP; Wu, Xia and Wang, "Adversarial weight perturbation helps robust
/// generalization", NeurIPS 2020, arXiv:2004.05884, algorithm 1) around any objective: the gradient of the loss is
/// taken at w + v, where v raises the loss,
///
///     v_l = gamma |w_l| g_l / |g_l|,   g = the loss's gradient at w, for each weight l of two or more dimensions
///
/// and moves w. As in the authors' code biases and batch norm's factors stay, and the adversarial images are those
/// found at w. Running statistics do not see the pass that finds v; what is reported beside the loss, and the features
/// that HPM's prototypes follow, are those of that pass.
class WeightPerturbation : public Objective {
 public:
  WeightPerturbation(std::unique_ptr<Objective> inner, const AwpOptions& options);
  Tensor adversarial(const TrainingBatch& batch) override { return inner_->adversarial(batch); }
  StepReport loss(const TrainingBatch& batch, const Tensor& x) override;
  std::vector<Tensor> parameters() override { return inner_->parameters(); }
  void after_backward() override;
  void after_step() override { inner_->after_step(); }
  HpmModel& model() override { return inner_->model(); }
  bool moves_statistics() const override { return inner_->moves_statistics(); }
  Objective& unperturbed() override { return *inner_; }
  std::vector<std::unique_ptr<AttackModel>> attacked() override { return inner_->attacked(); }

 private:
  StepReport perturb(const TrainingBatch& batch, const Tensor& x);
  void restore();

  std::unique_ptr<Objective> inner_;
  AwpOptions options_;
  std::vector<std::pair<Tensor, Tensor>> originals_;  // a perturbed weight, and its value before
};

/// The objective itself where gamma is 0.
std::unique_ptr<Objective> with_awp(std::unique_ptr<Objective> objective, const AwpOptions& options);

}  // namespace hpm
