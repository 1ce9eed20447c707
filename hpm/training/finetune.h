// defines: FinetuneOptions, attach_head(), calibrate(), finetune(), check_finetune()
#pragma once
#include "hpm/training/hpm_fine_tuning.h"
#include "hpm/training/metric.h"
#include "hpm/training/trainer.h"
#include "hpm/training/weight_perturbation.h"

namespace hpm {

/// How HPM is attached to an adversarially trained classifier and fine-tuned.
struct FinetuneOptions {
  std::string head = "hpm";        ///< hpm, l2 (lambda = 1) or fc (the matched control)
  std::string metric = "learned";  ///< none, l2norm or learned
  int64_t rank = 0;                ///< R of the learned metric; 0: K - 1
  double lambda = .9;              ///< weight of the stable prototypes
  std::optional<double> tau = {};  ///< none: fitted by cross-entropy on a grid, then learned
  double temperature = 1;          ///< T_a of the soft assignment
  double ema = .99;                ///< beta
  int64_t fit_images = 10000;  ///< training images whose features fit the metric and calibrate the reference context
  int64_t fit_rounds = 2;      ///< 1: adversaries against FC; 2: and against the fitted head
  int64_t metric_steps = 400;  ///< Adam steps of each round
  HpmTrainingOptions training;
  AdversaryOptions adversary;
  MethodOptions method;  ///< of the FC logits' loss, and of the control
  AwpOptions awp;
  TrainOptions loop;
};

/// Attaches a head: exact class means, the metric fitted in rounds of adversaries, tau. The backbone does not change.
void attach_head(HpmModel& model, const Dataset& data, const FinetuneOptions& options, Monitor& monitor = silent());

/// The training images in the order that fitting takes them: the first `fit_images` of it. int64.
Tensor fit_order(const Dataset& data, const FinetuneOptions& options);

/// Stores the statistics of the reference context: clean and adversarial training features, assigned by FC.
void calibrate(HpmModel& model, const Dataset& data, const FinetuneOptions& options, Monitor& monitor = silent());

/// attach_head (unless head = fc), `epochs` of training, calibrate. Returns the model in evaluation mode, without
/// gradients.
HpmModel finetune(HpmModel model, const Dataset& data, const FinetuneOptions& options, Monitor& monitor = silent(),
                  const std::function<void(const EpochReport&)>& after_epoch = nullptr);

/// Throws where finetune() would refuse a model, data and options, without computing anything (see check_training()).
void check_finetune(const HpmModel& model, const Dataset& data, const FinetuneOptions& options);

}  // namespace hpm
