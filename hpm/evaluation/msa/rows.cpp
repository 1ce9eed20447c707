#include "hpm/attacks/attack_pieces.h"
#include "hpm/evaluation/fast/alarms.h"
#include "hpm/evaluation/msa/msa_impl.h"

namespace hpm {
namespace {

/// A target whose rows are independent.
class RowTarget : public TargetAttack {
 public:
  RowTarget(const MsaRun& run, size_t target) : run_(run), target_(target) {}

  void begin() override {
    outcome_.context = run_.target(target_).name;
    const auto clean = verify(run_, target_, run_.images);
    clean_logits_ = clean.logits;
    outcome_.clean_prediction = clean.logits.argmax(1).to(at::kCPU);
    outcome_.clean_correct = clean.wrong.logical_not();
    outcome_.broken_by.resize(static_cast<size_t>(run_.images.size()));
    confirmed_ = at::zeros({run_.images.size()}, at::kBool);
  }

  void attack() override {
    confirm();
    for (const auto& step : msa_plan(run_.defence, target_, run_.threat.norm, run_.options)) {
      auto outcome = outcome_of(step);
      if (step.runs()) attack(step, outcome);
      add_outcome(std::move(outcome), outcome_.surrogates);
    }
  }

  std::vector<AlarmResult> alarms() override {
    const auto sample = sample_of_survivors();
    std::vector<AlarmResult> all;
    for (const auto& surrogate : run_.defence.surrogates(target_, {.quick = false})) {
      if (!surrogate.unavailable.empty()) continue;
      if (surrogate.leads) {
        all.push_back(beyond("fab-t", surrogate, sample));
        AttackedDefence attacked(run_.defence, target_, surrogate);
        for (auto& alarm : gradient_alarms(attacked)) all.push_back(std::move(alarm));
      }
      if (surrogate.kind == SurrogateKind::query) all.push_back(beyond("square", surrogate, sample));
    }
    if (!outcome_.context.empty())
      for (auto& alarm : all) alarm.name += " in " + outcome_.context;
    return all;
  }

  TargetOutcome finish() override {
    confirm();
    outcome_.robust = survivors();
    outcome_.adversarial = ImageStore(run_.images);
    const auto broken = (outcome_.clean_correct & run_.observer.broken(target_)).nonzero().squeeze(1);
    for_chunks(run_.observer.images(target_).set().subset(broken), run_.options.batch_size,
               [&](const Images& chunk, int64_t begin) {
                 outcome_.adversarial.put(broken.slice(0, begin, begin + chunk.size()), chunk.x);
               });
    TargetOutcome result{outcome_, {}};
    finish_beside(result);
    return result;
  }

 private:
  /// The mixing weights and the random draws that judged the same iterates.
  void finish_beside(TargetOutcome& result) {
    auto right_in_all_draws = survivors();
    bool drawn = false;
    for (auto t : targets_beside(run_.defence, target_)) {
      const auto& target = run_.target(t);
      RowTarget beside(run_, t);
      beside.begin();
      const auto other = beside.finish().outcome;
      if (target.draw) {
        drawn = true, right_in_all_draws = right_in_all_draws & other.robust;
        continue;
      }
      if (result.sweep.empty())
        result.sweep.push_back(
            {outcome_.context, run_.target(target_).lambda.value(), outcome_.clean_correct, survivors(), true});
      result.sweep.push_back({other.context, target.lambda.value(), other.clean_correct, other.robust, false});
    }
    if (drawn) result.outcome.worst_draw = percent(right_in_all_draws);
  }

  /// Of a plain model: the surrogate is the model itself, and needs no name.
  bool own_gradient(const Surrogate& surrogate) const { return outcome_.context.empty() && surrogate.exact; }

  /// [n] bool: right on the clean image, and not broken so far.
  Tensor survivors() const { return outcome_.clean_correct & run_.observer.broken(target_).logical_not(); }

  /// Verifies what was newly broken. A break that a fresh pass does not confirm is forgotten: the image goes on being
  /// attacked.
  void confirm() {
    const auto fresh = outcome_.clean_correct & run_.observer.broken(target_) & confirmed_.logical_not();
    const auto places = fresh.nonzero().squeeze(1);
    if (places.numel() == 0) return;
    const auto stands = verify(run_, target_, run_.observer.images(target_).set().subset(places)).wrong;
    run_.observer.forget(target_, places.index({stands.logical_not()}));
    const auto kept = places.index({stands});
    confirmed_.index_fill_(0, kept, true);
    for (int64_t i = 0; i < kept.numel(); ++i) {
      const auto place = kept[i].item<int64_t>();
      outcome_.broken_by[static_cast<size_t>(place)] = run_.observer.finding(target_, place);
    }
  }

  void attack(const PlannedStep& step, SurrogateOutcome& outcome) {
    const auto& clean = outcome_.clean_correct;
    const bool all = run_.options.full_matrix || step.surrogate.leads;
    const auto given = all ? clean : survivors();
    const auto before = survivors();
    AttackedDefence attacked(run_.defence, target_, step.surrogate, &run_.observer);
    auto unbroken = given.clone();  // by this surrogate
    for (const auto& spec : step.attacks) {
      AttackRecord record{spec.name, step.surrogate.name, outcome_.context};
      record.own_gradient = own_gradient(step.surrogate);
      const auto broken = attack_images(attacked, spec, unbroken, run_.log, record);
      confirm();
      record.robust = survivors();
      record.matrix = unbroken.to(at::kChar) + broken.to(at::kChar);
      run_.out.attacks.push_back(std::move(record));
      unbroken = unbroken & broken.logical_not();
    }
    outcome.first = (before & survivors().logical_not()).sum().item<int64_t>();
    count(given, given & unbroken.logical_not(), outcome);
    if (step.surrogate.leads) outcome_.leading = step.surrogate.name, outcome_.leading_accuracy = outcome.accuracy;
  }

  /// Adds images that a surrogate was `given`, and those that it broke of them, [n] bool each, to what it did before.
  void count(const Tensor& given, const Tensor& broken, SurrogateOutcome& outcome) {
    auto& own = own_[outcome.name];
    own.given = own.given.defined() ? own.given | given : given;
    own.broken = own.broken.defined() ? own.broken | broken : broken;
    outcome.of = own.given.sum().item<int64_t>(), outcome.broke = own.broken.sum().item<int64_t>();
    outcome.complete = at::equal(own.given, outcome_.clean_correct);
    if (outcome.complete) outcome.accuracy = percent(own.given & own.broken.logical_not());
  }

  /// Places of the survivors that FAB-T and Square attack: a twentieth, at least 12 and at most 60.
  Tensor sample_of_survivors() const {
    const auto rows = survivors().nonzero().squeeze(1);
    const auto count = run_.options.alarms.sample.value_or(twentieth(rows.numel()));
    return in_random_order(rows, run_.images.index, run_.options.seed).slice(0, 0, std::min(count, rows.numel()));
  }

  /// An attack of another kind on some survivors.
  AlarmResult beyond(const std::string& attack, const Surrogate& surrogate, const Tensor& rows) {
    const auto given = at::zeros({run_.images.size()}, at::kBool).index_fill_(0, rows, true) & survivors();
    AttackedDefence attacked(run_.defence, target_, surrogate, &run_.observer);
    const auto spec = autoattack_spec(attack, run_.threat.norm, run_.defence.classes());
    AttackRecord record{spec.name, surrogate.name, outcome_.context};
    record.own_gradient = own_gradient(surrogate);
    const auto broken = attack_images(attacked, spec, given, alarm_log(), record);
    confirm();
    record.robust = survivors();
    record.matrix = given.to(at::kChar) + broken.to(at::kChar);
    const StageResult stage{.attack = attack,
                            .images = given.sum().item<int64_t>(),
                            .attacked = given.sum().item<int64_t>(),
                            .broke = broken.sum().item<int64_t>()};
    run_.out.attacks.push_back(std::move(record));
    return beyond_alarm(attack + " beyond the core", &stage, run_.options.alarms.sample == 0 ? "--sample 0" : "");
  }

  /// What the gradients themselves tell.
  std::vector<AlarmResult> gradient_alarms(AttackModel& attacked) {
    const auto correct =
        in_random_order(outcome_.clean_correct.nonzero().squeeze(1), run_.images.index, run_.options.seed);
    return look_at_gradients({attacked, run_.images, run_.threat, run_.options.seed, run_.options.batch_size}, correct,
                             clean_logits_, run_.monitor, alarm_log());
  }

  /// Alarms attack by the same surrogates as the plan does, and their pieces must not be taken for its pieces.
  WorkLog alarm_log() const { return run_.log.below("alarms " + outcome_.context); }

  /// Attacks the images of `left` [n] bool; which of them it broke, verified, [n] bool.
  Tensor attack_images(AttackedDefence& attacked, const AttackSpec& spec, const Tensor& left, const WorkLog& log,
                       AttackRecord& record) {
    const auto& surrogate = attacked.surrogate();
    const auto rows = left.nonzero().squeeze(1);
    auto broken = at::zeros_like(left);
    const auto finder = own_gradient(surrogate) ? std::string() : surrogate.name;
    run_.observer.begin_attack({finder, surrogate.kind, spec.name, outcome_.context}, target_);
    const RandomStreams streams(seed_of(run_.options, surrogate.name, outcome_.context));
    auto packed = spec;
    packed.at_once = run_.options.batch_size;
    const auto attack = ready(packed);
    const auto work = [&](const Tensor& places, Monitor& progress) {
      auto chunk = run_.images.select(places);
      chunk.clean_logits = clean_logits_.index_select(0, places.to(clean_logits_.device()));
      return observed_attack(run_, attacked, [&] {
        return verified(places, chunk, attack.run(attacked, chunk, run_.threat, streams, progress));
      });
    };
    const auto take = [&](const Tensor& places, const NamedTensors& done) {
      replay(run_, done, record);
      broken.index_copy_(0, places, find_tensor(done, "broken"));
      if (const auto close = find_tensor(done, "close"); close.defined())  // none in journals of older builds
        run_.borderline.index_fill_(0, places.index({close}), true);
    };
    const auto context = outcome_.context.empty() ? "" : outcome_.context + " ";
    const auto key = fmt::format("{}/{}/{}", outcome_.context, surrogate.name, spec.name);
    attack_in_pieces({.task = fmt::format("{}{}/{}", context, surrogate.name, spec.name),
                      .budget = attack.budget,
                      .pieces = log.pieces(key, rows, run_.options.batch_size),
                      .work = work,
                      .take = take,
                      .note = [&] { return fmt::format("survivors {}", survivors().sum().item<int64_t>()); }},
                     run_.monitor, log);
    return broken;
  }

  /// What an attack returned for the images at `places`, as a fresh pass sees it: "broken" and "close", [M] bool each.
  NamedTensors verified(const Tensor& places, const Images& chunk, const AttackResult& found) {
    const auto hits = found.broken.nonzero().squeeze(1);
    const auto verdict = verify(run_, target_, Images{found.images, chunk.y, chunk.index}.select(hits));
    keep_returned(places, hits.index({verdict.wrong.to(hits.device())}), found.images);
    const auto of_all = [&](const Tensor& of_hits) {
      return at::zeros({chunk.size()}, at::kBool).index_copy(0, hits.to(at::kCPU), of_hits);
    };
    return {{"broken", of_all(verdict.wrong)}, {"close", of_all(verdict.close)}};
  }

  /// An image that an attack returned and a fresh pass called wrong, rows `hits` of `images` at `places`, takes the
  /// place of the first iterate that the observer saw: that one may be a tie which another rounding decides otherwise.
  void keep_returned(const Tensor& places, const Tensor& hits, const Tensor& images) {
    const auto at_hits = places.index_select(0, hits.to(at::kCPU));
    const auto fresh = confirmed_.index_select(0, at_hits).logical_not();
    run_.observer.record(target_, at_hits.index({fresh}),
                         images.index_select(0, hits.index({fresh.to(hits.device())})));
  }

  /// What one surrogate did in all its attacks, [n] bool each.
  struct Own {
    Tensor given, broken;
  };

  const MsaRun& run_;
  size_t target_;
  Tensor clean_logits_;             // [n,K]: of the target, in agreement with its verdicts
  Tensor confirmed_;                // [n] bool: broken, and verified so
  std::map<std::string, Own> own_;  // by surrogate
  ContextOutcome outcome_;
};

}  // namespace

std::unique_ptr<TargetAttack> attack_rows(const MsaRun& run, size_t target) {
  return std::make_unique<RowTarget>(run, target);
}

}  // namespace hpm
