#include "hpm/core/error.h"
#include "hpm/evaluation/msa_impl.h"
#include "hpm/surrogates/transfer_model.h"

namespace hpm {
namespace {

/// A model without a head under attack: by its own gradient, then what stands is attacked through stand-ins, then by
/// queries. Every attack starts from the original images, and a verdict is always the model's.
class PlainAttack {
 public:
  PlainAttack(const HpmModel& model, const Peers& peers, const ImageSet& images, const ThreatModel& threat,
              const MsaOptions& options, Monitor& monitor, const WorkLog& log)
      : model_(model),
        peers_(peers),
        images_(images),
        threat_(threat),
        options_(options),
        monitor_(monitor),
        log_(log) {}

  Evaluation operator()() {
    AttackSequence own, queries;
    const auto classes = model_.classifier.classes();
    for (const auto& step : msa_plan(options_, threat_.norm, classes, false)) {
      if (step.surrogate != "query" && !options_.differentiable) continue;
      auto& attacks = (step.surrogate == "query" ? queries : own).attacks;
      attacks.insert(attacks.end(), step.attacks.begin(), step.attacks.end());
    }
    const auto stand_ins = transfer_plan(options_, threat_.norm, classes, peers_);
    ClassifierModel itself(model_.classifier);
    if (stand_ins.empty()) {
      own.attacks.insert(own.attacks.end(), queries.attacks.begin(), queries.attacks.end());
      return evaluation_of(run(itself, images_, own, "fc", log_), "", "");
    }
    out_ = evaluation_of(run(itself, images_, own, "fc", log_), "", "");
    for (const auto& step : stand_ins) {
      TransferModel through(model_.classifier, find_surrogate(step.surrogate), peers_, options_.differentiable);
      outcome().surrogates.push_back(attack_survivors(through, {step.attacks, {}}, step.surrogate, step.surrogate));
    }
    if (!queries.attacks.empty()) attack_survivors(itself, queries, "fc", "");
    return std::move(out_);
  }

 private:
  ContextOutcome& outcome() { return out_.contexts.front(); }

  AutoAttackResult run(AttackModel& attacked, const ImageSet& images, const AttackSequence& sequence,
                       const std::string& seed, const WorkLog& log) {
    return run_sequence(attacked, images, threat_, sequence,
                        {.seed = seed_of(options_, seed), .batch_size = options_.batch_size}, monitor_, log);
  }

  /// Attacks what stands. `name`: the stand-in's, empty for the model itself.
  SurrogateOutcome attack_survivors(AttackModel& attacked, const AttackSequence& sequence, const std::string& seed,
                                    const std::string& name) {
    const auto rows = outcome().robust.nonzero().squeeze(1);
    SurrogateOutcome done{.name = name, .of = rows.numel()};
    done.complete = rows.numel() == outcome().clean_correct.sum().item<int64_t>();
    if (rows.numel() == 0) {
      for (const auto& spec : sequence.attacks)
        out_.attacks.push_back({spec.name, name, "", outcome().robust.clone(), {}, 0, {}});
    } else {
      const auto log = log_.below(name.empty() ? "query" : name);
      merge(run(attacked, images_.subset(rows), sequence, seed, log), rows, name);
    }
    done.broke = done.first = done.of - outcome().robust.sum().item<int64_t>();
    if (done.complete) done.accuracy = percent(outcome().robust);
    return done;
  }

  /// Takes over what was found on the images `rows`, which stood before.
  void merge(const AutoAttackResult& found, const Tensor& rows, const std::string& name) {
    auto standing = at::ones_like(rows, at::kBool);
    for (const auto& attack : found.attacks) {
      const auto now = standing & attack.robust;
      const auto fresh = (standing & now.logical_not()).nonzero().squeeze(1), places = rows.index_select(0, fresh);
      for (int64_t i = 0; i < places.numel(); ++i)
        outcome().broken_by[static_cast<size_t>(places[i].item<int64_t>())] =
            name.empty() ? attack.spec.name : name + "/" + attack.spec.name;
      outcome().adversarial.put(places, found.adversarial.select(fresh));
      outcome().robust.index_fill_(0, places, false);
      out_.attacks.push_back({attack.spec.name, name, "", outcome().robust.clone(), attack.passes, attack.seconds, {}});
      standing = now;
    }
    out_.borderline = std::max(out_.borderline, found.borderline);
  }

  const HpmModel& model_;
  const Peers& peers_;
  const ImageSet& images_;
  const ThreatModel& threat_;
  const MsaOptions& options_;
  Monitor& monitor_;
  const WorkLog& log_;
  Evaluation out_;
};

}  // namespace

Evaluation attack_plain(const HpmModel& model, const Peers& peers, const ImageSet& images, const ThreatModel& threat,
                        const MsaOptions& options, Monitor& monitor, const WorkLog& log) {
  return PlainAttack(model, peers, images, threat, options, monitor, log)();
}

}  // namespace hpm
