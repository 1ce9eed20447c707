#include "hpm/core/error.h"
#include "hpm/evaluation/msa/msa_impl.h"

namespace hpm {
namespace {

/// One fixed batch, and what is right on the worst composition of it found so far: for the target that is attacked, and
/// for each mixing weight beside it, judged on the same compositions.
struct FixedBatch {
  Tensor rows;                      // the images' positions in the evaluation, [B] int64 (CPU)
  std::vector<Tensor> correct;      // a judged target: [B] bool (CPU)
  Finding by = {};                  // what gave the attacked target's worst composition
  std::optional<size_t> from = {};  // where it is composed: the target whose broken images it is made of
};

bool fewer(const Tensor& a, const Tensor& b) { return a.sum().item<int64_t>() < b.sum().item<int64_t>(); }

/// A target whose batches are attacked as a whole.
class BatchTarget : public TargetAttack {
 public:
  BatchTarget(const MsaRun& run, size_t target) : run_(run), target_(target), judged_{target}, worst_(run.images) {
    const auto beside = targets_beside(run.defence, target);
    judged_.insert(judged_.end(), beside.begin(), beside.end());
  }

  void begin() override {
    outcome_.context = run_.target(target_).name;
    outcome_.clean_prediction = at::zeros({run_.images.size()}, at::kLong);
    for (const auto& index : run_.defence.batches()) {
      const auto rows = run_.observer.places(index);
      const auto images = run_.images.select(rows);
      const auto predictions = predict(images, images.x);
      batches_.push_back({rows, predictions.eq(images.y.to(at::kCPU)).unbind(0)});
      outcome_.clean_prediction.index_copy_(0, rows, predictions[0]);
    }
    for (size_t j = 0; j < judged_.size(); ++j) clean_correct_.push_back(flags(j));
    outcome_.clean_correct = clean_correct_[0];
    ever_wrong_ = outcome_.clean_correct.logical_not();
  }

  void attack() override {
    bool first = outcome_.surrogates.empty();
    for (const auto& step : msa_plan(run_.defence, target_, run_.threat.norm, run_.options)) {
      auto outcome = outcome_of(step);
      if (step.runs()) attack(step, outcome, std::exchange(first, false));
      add_outcome(std::move(outcome), outcome_.surrogates);
    }
    // Each once, also where the attacks of another version follow. That version may bring a study of its own.
    if (outcome_.collusion.empty()) outcome_.collusion = collusion(run_, target_);
    if (outcome_.benign.empty()) outcome_.benign = benign_victims(run_, target_);
  }

  TargetOutcome finish() override {
    for (auto t : judged_) compose(t, {.target = outcome_.context, .composed = true});
    for (size_t t = 0; t < run_.defence.targets().size(); ++t)
      if (run_.target(t).coupling == Coupling::rows) compose(t, {.target = run_.target(t).name, .composed = true});
    outcome_.robust = flags(0);
    for (const auto& colluders : outcome_.collusion) ever_wrong_ = ever_wrong_ | colluders.broken;
    for (const auto& malicious : outcome_.benign) ever_wrong_ = ever_wrong_ | malicious.broken;
    outcome_.joint_any = percent((ever_wrong_ | run_.observer.broken(target_)).logical_not());
    outcome_.adversarial = worst_;
    name_findings();
    TargetOutcome result{std::move(outcome_), {}};
    for (size_t j = 0; j < judged_.size() && judged_.size() > 1; ++j)
      result.sweep.push_back(
          {run_.target(judged_[j]).name, run_.target(judged_[j]).lambda.value(), clean_correct_[j], flags(j), j == 0});
    return result;
  }

 private:
  void name_findings() {
    outcome_.broken_by.resize(static_cast<size_t>(run_.images.size()));
    for (const auto& batch : batches_) {
      const auto broken = batch.correct[0].logical_not() & clean_correct_[0].index_select(0, batch.rows);
      const auto places = batch.rows.index({broken});
      for (int64_t i = 0; i < places.numel(); ++i) {
        const auto place = places[i].item<int64_t>();
        auto& by = outcome_.broken_by[static_cast<size_t>(place)] = batch.by;
        if (!batch.from || !run_.observer.broken(*batch.from)[place].item<bool>()) continue;
        by = run_.observer.finding(*batch.from, place);
        by.composed = true;
      }
    }
  }

  /// Predictions [judged,B] (CPU) of a composed batch, from a fresh forward pass.
  Tensor predict(const Images& batch, const Tensor& x) const {
    torch::NoGradGuard guard;
    const auto pass = run_.defence.run(x);
    std::vector<Tensor> predictions;
    for (auto t : judged_) predictions.push_back(run_.defence.predict(pass, batch.index, t).argmax(1));
    return at::stack(predictions).to(at::kCPU);
  }

  /// [n] bool: right on the worst compositions, by one of the judged targets.
  Tensor flags(size_t judged = 0) const {
    auto all = at::zeros({run_.images.size()}, at::kBool);
    for (const auto& batch : batches_) all.index_copy_(0, batch.rows, batch.correct[judged]);
    return all;
  }

  /// A composition of a batch as a piece of work: which predictions are right on it, [judged,B], from a fresh pass, and
  /// the images where it is the attacked target's worst so far.
  NamedTensors composition(const FixedBatch& batch, const Images& originals, const Tensor& x) const {
    if (!inside(x, originals.x, run_.threat).all().item<bool>())
      fail("msa: an attack on the context {} left the threat model; its batch cannot be counted", outcome_.context);
    const auto correct = predict(originals, x).eq(originals.y.to(at::kCPU));
    NamedTensors judged{{"correct", correct}};
    if (fewer(correct[0], batch.correct[0])) judged.emplace_back("images", x);
    return judged;
  }

  /// `from`: the target whose broken images were put together. Batches found for another lambda count for that lambda
  /// only, and for joint_any.
  void keep_worse(FixedBatch& batch, const NamedTensors& judged, const Finding& by,
                  std::optional<size_t> from = std::nullopt) {
    const auto correct = find_tensor(judged, "correct").unbind(0);
    ever_wrong_.index_copy_(0, batch.rows, ever_wrong_.index_select(0, batch.rows) | correct[0].logical_not());
    for (size_t j = 1; j < judged_.size(); ++j)
      if (fewer(correct[j], batch.correct[j])) batch.correct[j] = correct[j];
    const auto images = find_tensor(judged, "images");
    // A piece of work that was read back may be no worse than what is there: compositions are found anew.
    const bool swept = from && run_.target(*from).swept();
    if (!images.defined() || swept || !fewer(correct[0], batch.correct[0])) return;
    worst_.put(batch.rows, images);
    batch.correct[0] = correct[0];
    batch.by = by;
    batch.from = from;
  }

  /// One attack on every batch, each a piece of work; `own` [batches][B] keeps the worst of this surrogate alone.
  void attack_all(AttackedDefence& attacked, const AttackSpec& spec, std::vector<Tensor>& own) {
    const auto& surrogate = attacked.surrogate();
    AttackRecord record{spec.name, surrogate.name, outcome_.context};
    record.matrix = at::zeros({run_.images.size()}, at::kChar);
    const RandomStreams streams(seed_of(run_.options, surrogate.name, outcome_.context));
    const Finding finder{surrogate.name, surrogate.kind, spec.name, outcome_.context};
    run_.observer.begin_attack(finder);
    run_.monitor.begin(fmt::format("{} {}/{}", outcome_.context, surrogate.name, spec.name),
                       static_cast<int64_t>(batches_.size()), "batches");
    std::vector<PieceOfWork> pieces;
    for (const auto& batch : batches_)
      pieces.push_back(
          {fmt::format("{}/{}/{}/{}", outcome_.context, surrogate.name, spec.name, pieces.size()), batch.rows});
    run_.log.each(
        pieces,
        [&](size_t b) {
          const auto& batch = batches_[b];
          return observed_attack(run_, attacked, [&] {
            const auto images = run_.images.select(batch.rows);
            return composition(batch, images,
                               surrogate.adapt
                                   ? attack_in_rounds(run_, attacked, images, spec, streams)
                                   : ready(spec).run(attacked, images, run_.threat, streams, run_.monitor).images);
          });
        },
        [&](size_t b, const NamedTensors& done) {
          auto& batch = batches_[b];
          replay(run_, done, record);
          const auto correct = find_tensor(done, "correct")[0];
          if (fewer(correct, own[b])) own[b] = correct;
          const auto clean = outcome_.clean_correct.index_select(0, batch.rows);
          record.matrix.index_copy_(0, batch.rows, clean.to(at::kChar) + (clean & correct.logical_not()).to(at::kChar));
          keep_worse(batch, done, finder);
          run_.monitor.step(static_cast<int64_t>(b) + 1, fmt::format("right {}", flags().sum().item<int64_t>()));
        });
    run_.monitor.end();
    record.robust = flags();
    run_.out.attacks.push_back(std::move(record));
  }

  /// `first`: nothing was attacked before, so that what is composed afterwards is this surrogate's alone.
  void attack(const PlannedStep& step, SurrogateOutcome& outcome, bool first) {
    const auto before = flags().sum().item<int64_t>();
    AttackedDefence attacked(run_.defence, target_, step.surrogate, &run_.observer);
    auto& own = own_[step.surrogate.name];
    for (auto b = own.size(); b < batches_.size(); ++b)
      own.push_back(outcome_.clean_correct.index_select(0, batches_[b].rows));
    for (const auto& spec : step.attacks) attack_all(attacked, spec, own);
    if (first) {
      compose(target_, {step.surrogate.name, step.surrogate.kind, "", outcome_.context, true});
      for (size_t b = 0; b < batches_.size(); ++b) own[b] = batches_[b].correct[0];
    }
    int64_t left = 0;
    for (const auto& correct : own) left += correct.sum().item<int64_t>();
    outcome.complete = true;
    outcome.of = outcome_.clean_correct.sum().item<int64_t>();
    outcome.broke = std::max<int64_t>(outcome.of - left, 0);
    outcome.first = before - flags().sum().item<int64_t>();
    outcome.accuracy = 100. * static_cast<double>(left) / static_cast<double>(run_.images.size());
    if (step.surrogate.leads) outcome_.leading = step.surrogate.name, outcome_.leading_accuracy = outcome.accuracy;
  }

  /// The images that broke each row of a batch for `target`, put together: a new candidate, judged like the rest; once
  /// on the originals, once on the worst batch so far.
  void compose(size_t target, const Finding& by) {
    for (auto& batch : batches_) {
      const auto broken = run_.observer.broken(target).index_select(0, batch.rows);
      if (!broken.any().item<bool>()) continue;
      const auto originals = run_.images.select(batch.rows);
      const auto found = run_.observer.images(target).select(batch.rows);
      const auto rows = per_row(broken.to(found.device()), found);
      for (const auto& elsewhere : {originals.x, worst_.select(batch.rows)})
        keep_worse(batch, composition(batch, originals, at::where(rows, found, elsewhere)), by, target);
    }
  }

  const MsaRun& run_;
  size_t target_;
  std::vector<size_t> judged_;  // the target, then the mixing weights beside it
  ImageStore worst_;            // the worst composition of each batch found so far
  std::vector<FixedBatch> batches_;
  std::map<std::string, std::vector<Tensor>> own_;  // what is right on each batch's worst composition by a surrogate
  std::vector<Tensor> clean_correct_;               // a judged target: [n] bool
  Tensor ever_wrong_;                               // [n] bool: in any composed batch, the clean one included
  ContextOutcome outcome_;
};

}  // namespace

std::unique_ptr<TargetAttack> attack_batches(const MsaRun& run, size_t target) {
  return std::make_unique<BatchTarget>(run, target);
}

}  // namespace hpm
