#include "hpm/core/error.h"
#include "hpm/evaluation/msa_impl.h"

namespace hpm {
namespace {

/// One fixed batch and what is right on the worst composition of it found so far: for the head's own lambda, which is
/// attacked, and for each of the sweep, judged on the same compositions.
struct Composed {
  Tensor rows;                  // the images' positions in the evaluation, [B] int64 (CPU)
  std::vector<Tensor> correct;  // a lambda: [B] bool (CPU); the images of the own lambda's worst are in Joint::worst_
  std::string by;               // the attack that gave the own lambda's
  std::optional<size_t> from;   // of a composition: the judge's target whose broken images it is made of
};

bool fewer(const Tensor& a, const Tensor& b) { return a.sum().item<int64_t>() < b.sum().item<int64_t>(); }

class Joint : public ContextAttack {
 public:
  Joint(const MsaRun& run, Judge& judge, size_t target, const std::vector<size_t>& swept)
      : run_(run), judge_(judge), places_{target}, worst_(run.images) {
    places_.insert(places_.end(), swept.begin(), swept.end());
    outcome_.context = to_string(ContextKind::joint);
    outcome_.clean_prediction = at::zeros({run.images.size()}, at::kLong);
    for (const auto& index : run.company->batches()) {
      const auto rows_of_batch = judge_.places(index);
      const auto images = run.images.select(rows_of_batch);
      const auto predictions = predict(images, images.x);
      batches_.push_back({rows_of_batch, predictions.eq(images.y.to(at::kCPU)).unbind(0), "", {}});
      outcome_.clean_prediction.index_copy_(0, rows_of_batch, predictions[0]);
    }
    for (size_t t = 0; t < places_.size(); ++t) clean_correct_.push_back(flags(t));
    outcome_.clean_correct = clean_correct_[0];
    ever_wrong_ = outcome_.clean_correct.logical_not();
  }

  void attack() override {
    bool first = true;
    for (const auto& step : run_.plan(ContextKind::joint)) {
      SurrogateOutcome outcome{.name = step.surrogate, .same_as = step.same_as, .unavailable = step.unavailable};
      if (step.runs()) attack(step, outcome, std::exchange(first, false));
      outcome_.surrogates.push_back(std::move(outcome));
    }
    outcome_.collusion = collusion(run_, judge_);
  }

  ContextRun finish() override {
    for (auto t : places_) compose(t, "composed of several attacks");
    for (size_t t = 0; t < judge_.targets().size(); ++t) {
      const auto kind = judge_.targets()[t].context.kind;
      if (kind != ContextKind::joint) compose(t, "found in " + to_string(kind));
    }
    outcome_.robust = flags(0);
    for (const auto& colluders : outcome_.collusion) ever_wrong_ = ever_wrong_ | colluders.broken;
    outcome_.joint_any = percent((ever_wrong_ | judge_.broken(places_[0])).logical_not());
    outcome_.adversarial = worst_;
    outcome_.broken_by.resize(static_cast<size_t>(run_.images.size()));
    for (const auto& batch : batches_) {
      const auto broken = batch.correct[0].logical_not() & clean_correct_[0].index_select(0, batch.rows);
      const auto places = batch.rows.index({broken});
      for (int64_t i = 0; i < places.numel(); ++i) {
        const auto place = places[i].item<int64_t>();
        const bool composed = batch.from && judge_.broken(*batch.from)[place].item<bool>();
        outcome_.broken_by[static_cast<size_t>(place)] =
            composed ? found_by(judge_.source(*batch.from, place)) : batch.by;
      }
    }
    ContextRun result{std::move(outcome_), {}};
    for (size_t t = 0; t < places_.size() && places_.size() > 1; ++t)
      result.sweep.push_back({to_string(ContextKind::joint), target(t).lambda.value_or(run_.model.head->lambda),
                              clean_correct_[t], flags(t), t == 0});
    return result;
  }

 private:
  /// "surrogate/attack in context" of an image that is part of a composition.
  static std::string found_by(const std::string& source) {
    const std::string own = " in joint";
    return source.ends_with(own) ? source.substr(0, source.size() - own.size()) + ", composed" : source;
  }

  /// The head's own lambda first, then the sweep's.
  const JudgedTarget& target(size_t t) const { return judge_.targets()[places_[t]]; }

  /// Predictions [targets,B] (CPU) of a composed batch, from a fresh forward pass.
  Tensor predict(const Images& batch, const Tensor& x) const {
    torch::NoGradGuard guard;
    const auto out = run_.model.run(x);
    std::vector<Tensor> predictions;
    for (size_t t = 0; t < places_.size(); ++t)
      predictions.push_back(prediction_logits(*run_.model.head, target(t).context, out.features, out.logits,
                                              batch.index, {.lambda = target(t).lambda})
                                .argmax(1));
    return at::stack(predictions).to(at::kCPU);
  }

  Tensor flags(size_t target = 0) const {
    auto all = at::zeros({run_.images.size()}, at::kBool);
    for (const auto& batch : batches_) all.index_copy_(0, batch.rows, batch.correct[target]);
    return all;
  }

  /// A composition of a batch as a piece of work: which predictions are right on it, [targets,B], from a fresh pass,
  /// and the images where it is the own lambda's worst so far.
  NamedTensors judged_batch(const Composed& batch, const Images& originals, const Tensor& x) const {
    if (!inside(x, originals.x, run_.threat).all().item<bool>())
      fail("msa: an attack on the context joint left the threat model; its batch cannot be counted");
    const auto correct = predict(originals, x).eq(originals.y.to(at::kCPU));
    NamedTensors judged{{"correct", correct}};
    if (fewer(correct[0], batch.correct[0])) judged.emplace_back("images", x);
    return judged;
  }

  /// `from`: of a composition, the judge's target. What was found for one of the sweep counts for the sweep alone, so
  /// that asking for it changes nothing else but joint_any, which counts every batch that was composed.
  void keep_worse(Composed& batch, const NamedTensors& judged, const std::string& by,
                  std::optional<size_t> from = std::nullopt) {
    const auto correct = find_tensor(judged, "correct").unbind(0);
    ever_wrong_.index_copy_(0, batch.rows, ever_wrong_.index_select(0, batch.rows) | correct[0].logical_not());
    for (size_t t = 1; t < places_.size(); ++t)
      if (fewer(correct[t], batch.correct[t])) batch.correct[t] = correct[t];
    const auto images = find_tensor(judged, "images");
    // A piece of work that was read back may be no worse than what is there: compositions are found anew.
    const bool swept = from && judge_.targets()[*from].lambda;
    if (!images.defined() || swept || !fewer(correct[0], batch.correct[0])) return;
    worst_.put(batch.rows, images);
    batch.correct[0] = correct[0];
    batch.by = by;
    batch.from = from;
  }

  /// `first`: nothing was attacked before, so that what is composed afterwards is this surrogate's alone.
  void attack(const PlannedStep& step, SurrogateOutcome& outcome, bool first) {
    const auto before = flags().sum().item<int64_t>();
    HpmAttackModel attacked(run_.model, target(0), find_surrogate(step.surrogate), run_.peers, &judge_);
    const RandomStreams streams(seed_of(run_.options, step.surrogate, ContextKind::joint));
    std::vector<Tensor> own;  // the worst of this surrogate alone, a batch
    for (const auto& batch : batches_) own.push_back(outcome_.clean_correct.index_select(0, batch.rows));
    for (const auto& spec : step.attacks) {
      AttackRecord record{spec.name, step.surrogate, "joint"};
      record.matrix = at::zeros({run_.images.size()}, at::kChar);
      judge_.name_source(fmt::format("{}/{} in joint", step.surrogate, spec.name));
      run_.monitor.begin(fmt::format("joint {}/{}", step.surrogate, spec.name), static_cast<int64_t>(batches_.size()),
                         "batches");
      for (size_t b = 0; b < batches_.size(); ++b) {
        const auto key = fmt::format("joint/{}/{}/{}", step.surrogate, spec.name, b);
        const auto done = run_.log.once(key, batches_[b].rows, [&] {
          return judged_attack(judge_, attacked, [&] {
            const auto images = run_.images.select(batches_[b].rows);
            return judged_batch(batches_[b], images,
                                run_attack(attacked, images, run_.threat, spec, streams, run_.monitor).images);
          });
        });
        take_over(done, judge_, record);
        const auto correct = find_tensor(done, "correct")[0];
        if (fewer(correct, own[b])) own[b] = correct;
        const auto clean = outcome_.clean_correct.index_select(0, batches_[b].rows);
        record.matrix.index_copy_(0, batches_[b].rows,
                                  clean.to(at::kChar) + (clean & correct.logical_not()).to(at::kChar));
        keep_worse(batches_[b], done, step.surrogate + "/" + spec.name);
        run_.monitor.step(static_cast<int64_t>(b) + 1, fmt::format("right {}", flags().sum().item<int64_t>()));
      }
      run_.monitor.end();
      record.robust = flags();
      run_.out.attacks.push_back(std::move(record));
    }
    if (first) {
      compose(places_[0], step.surrogate + ", composed of its attacks");
      for (size_t b = 0; b < batches_.size(); ++b) own[b] = batches_[b].correct[0];
    }
    int64_t left = 0;
    for (const auto& correct : own) left += correct.sum().item<int64_t>();
    outcome.complete = true;
    outcome.of = outcome_.clean_correct.sum().item<int64_t>();
    outcome.broke = std::max<int64_t>(outcome.of - left, 0);
    outcome.first = before - flags().sum().item<int64_t>();
    outcome.accuracy = 100. * static_cast<double>(left) / static_cast<double>(run_.images.size());
    if (step.surrogate == "ste") outcome_.ste_accuracy = outcome.accuracy;
  }

  /// The images that broke each row somewhere, put together: a new candidate for each batch, judged like the rest; once
  /// on the originals, once on the worst batch so far.
  void compose(size_t place, const std::string& by) {
    for (auto& batch : batches_) {
      const auto broken = judge_.broken(place).index_select(0, batch.rows);
      if (!broken.any().item<bool>()) continue;
      const auto originals = run_.images.select(batch.rows);
      const auto found = judge_.images(place).select(batch.rows);
      const auto rows = per_row(broken.to(found.device()), found);
      for (const auto& elsewhere : {originals.x, worst_.select(batch.rows)})
        keep_worse(batch, judged_batch(batch, originals, at::where(rows, found, elsewhere)), by, place);
    }
  }

  const MsaRun& run_;
  Judge& judge_;
  std::vector<size_t> places_;  // among the judge's targets: the own lambda's, the sweep's
  ImageStore worst_;            // the worst composition of each batch found so far
  std::vector<Composed> batches_;
  std::vector<Tensor> clean_correct_;  // a lambda: [n] bool
  Tensor ever_wrong_;                  // [n] bool: in any composed batch, the clean one included
  ContextOutcome outcome_;
};

}  // namespace

std::unique_ptr<ContextAttack> joint_under_attack(const MsaRun& run, Judge& judge, size_t target,
                                                  std::vector<size_t> swept) {
  return std::make_unique<Joint>(run, judge, target, std::move(swept));
}

}  // namespace hpm
