// defines: ProtocolSubject, make_context(), batch_rows(), predict_logits(), evaluate_clean(), evaluate_pgd(),
//          evaluate_autoattack()
#pragma once
#include <memory>
#include <string>

#include "hpm/attacks/autoattack.h"
#include "hpm/attacks/pgd.h"
#include "hpm/evaluation/evaluation.h"
#include "hpm/prototypes/model.h"

namespace hpm {

/// A model in a context, as the protocols clean, pgd and autoattack see it: one surrogate, ste (in the reference
/// context that is the exact gradient; elsewhere only msa is an honest judge).
struct ProtocolSubject {
  const HpmModel& model;
  Context context = {};  ///< read where the model has a head
  bool random = false;   ///< the model draws random numbers
  std::unique_ptr<AttackModel> attack_model(const std::string& surrogate = "ste") const;
  std::string context_name() const { return model.head ? to_string(context.kind) : ""; }
};

/// The context of that name for these images; where it needs a company, from one clean pass, which is kept in the log.
Context make_context(const HpmModel& model, const std::string& name, const ImageSet& images, int64_t company_size,
                     uint64_t company_seed, int64_t batch_size, const WorkLog& log = {});

/// The positions of the images of each of a company's batches, [B] int64 (CPU), among images with numbers `index` [n].
std::vector<Tensor> batch_rows(const Company& company, const Tensor& index);

/// Target logits [n,K] in chunks; batches of a joint context are its company's.
Tensor predict_logits(const ProtocolSubject& subject, const ImageSet& images, int64_t batch_size);

Evaluation evaluate_clean(const ProtocolSubject& subject, const ImageSet& images, int64_t batch_size);
Evaluation evaluate_pgd(const ProtocolSubject& subject, const ImageSet& images, const ThreatModel& threat,
                        const PgdOptions& options, uint64_t seed, int64_t batch_size, Monitor& monitor = silent(),
                        const WorkLog& log = {});
Evaluation evaluate_autoattack(const ProtocolSubject& subject, const ImageSet& images, const ThreatModel& threat,
                               const AutoAttackOptions& options, Monitor& monitor = silent(), const WorkLog& log = {});

}  // namespace hpm
