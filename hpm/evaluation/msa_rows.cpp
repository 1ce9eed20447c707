#include "hpm/evaluation/msa_impl.h"

namespace hpm {
namespace {

class RowContext : public ContextAttack {
 public:
  RowContext(const MsaRun& run, Judge& judge, size_t target, std::vector<size_t> swept)
      : run_(run), judge_(judge), target_(target), swept_(std::move(swept)) {
    const auto& context = judge.targets()[target].context;
    const auto& head = *run.model.head;
    const HeadOptions options{.lambda = lambda()};
    std::vector<Tensor> logits, predictions;
    for (int64_t begin = 0; begin < run.images.size(); begin += run.options.batch_size) {
      const auto rows = [&](const Tensor& t) { return t.slice(0, begin, begin + run.options.batch_size); };
      const auto h = head.embed(rows(run.clean.z)), index = rows(run.images.index);
      const auto assigned = assign(rows(run.clean.o), Assignment::hard);
      logits.push_back(context_logits(head, context, h, assigned, index, options));
      predictions.push_back(prediction_logits(head, context, h, assigned, index, options).argmax(1));
    }
    scale_l_ = at::cat(logits).std().item<double>();
    result_.outcome.context = to_string(context.kind);
    result_.outcome.clean_prediction = at::cat(predictions).to(at::kCPU);
    const auto clean = judge_afresh(run.images);
    clean_logits_ = clean.logits;
    result_.outcome.clean_correct = clean.wrong.logical_not();
    result_.outcome.broken_by.resize(static_cast<size_t>(run.images.size()));
    confirmed_ = at::zeros({run.images.size()}, at::kBool);
  }

  void attack() override {
    confirm();
    for (const auto& step : run_.plan(judge_.targets()[target_].context.kind)) {
      SurrogateOutcome outcome{.name = step.surrogate, .same_as = step.same_as, .unavailable = step.unavailable};
      if (step.runs()) attack(step, outcome);
      result_.outcome.surrogates.push_back(std::move(outcome));
    }
  }

  ContextRun finish() override {
    confirm();
    result_.outcome.robust = standing();
    result_.outcome.adversarial = ImageStore(run_.images);
    const auto broken = (result_.outcome.clean_correct & judge_.broken(target_)).nonzero().squeeze(1);
    for_chunks(judge_.images(target_).set().subset(broken), run_.options.batch_size,
               [&](const Images& chunk, int64_t begin) {
                 result_.outcome.adversarial.put(broken.slice(0, begin, begin + chunk.size()), chunk.x);
               });
    if (judge_.targets()[target_].context.kind == ContextKind::solo_eot && !lambda())
      result_.outcome.worst_draw = worst_draw();
    const auto own = lambda().value_or(run_.model.head->lambda);
    if (!swept_.empty())
      result_.sweep.push_back({result_.outcome.context, own, result_.outcome.clean_correct, standing(), true});
    for (auto t : swept_) {
      const auto other = RowContext(run_, judge_, t, {}).finish();
      result_.sweep.push_back({other.outcome.context, *judge_.targets()[t].lambda, other.outcome.clean_correct,
                               other.outcome.robust, false});
    }
    return std::move(result_);
  }

 private:
  std::optional<double> lambda() const { return judge_.targets()[target_].lambda; }

  /// Percent of the images that every draw of solo-eot predicts right, as they are and at every iterate.
  double worst_draw() {
    auto right = standing();
    for (const auto& company : run_.draws)
      if (const auto t = judge_.find({{ContextKind::solo, company}, std::nullopt}))
        right = right & RowContext(run_, judge_, *t, {}).finish().outcome.robust;
    return percent(right);
  }

  /// Images [n] that are right and not broken so far.
  Tensor standing() const { return result_.outcome.clean_correct & judge_.broken(target_).logical_not(); }

  /// Verdicts on versions of the evaluation's images, from a fresh float32 pass.
  FreshVerdict judge_afresh(const ImageSet& images) {
    torch::NoGradGuard guard;
    const auto& context = judge_.targets()[target_].context;
    std::vector<Tensor> wrong{at::zeros({0}, at::kBool)},
        close = wrong, logits{at::zeros({0, run_.model.head->classes()}, run_.clean.o.options())};
    for_chunks(images, run_.options.batch_size, [&](const Images& chunk, int64_t) {
      const auto verdict = judge_fresh(chunk, [&](const Images& rows) {
        const auto out = run_.model.run(rows.x);
        return prediction_logits(*run_.model.head, context, out.features, out.logits, rows.index, {.lambda = lambda()});
      });
      run_.borderline.index_fill_(0, judge_.places(chunk.index.index({verdict.close})), true);
      wrong.push_back(verdict.wrong), close.push_back(verdict.close), logits.push_back(verdict.logits);
    });
    return {at::cat(wrong), at::cat(close), at::cat(logits)};
  }
  Tensor wrong(const ImageSet& images) { return judge_afresh(images).wrong; }

  /// Judges again what was newly broken. A break that does not stand is forgotten: the image goes on being attacked.
  void confirm() {
    const auto fresh = result_.outcome.clean_correct & judge_.broken(target_) & confirmed_.logical_not();
    const auto places = fresh.nonzero().squeeze(1);
    if (places.numel() == 0) return;
    const auto stands = wrong(judge_.images(target_).set().subset(places));
    judge_.forget(target_, places.index({stands.logical_not()}));
    const auto kept = places.index({stands});
    confirmed_.index_fill_(0, kept, true);
    for (int64_t i = 0; i < kept.numel(); ++i) {
      const auto place = kept[i].item<int64_t>();
      result_.outcome.broken_by[static_cast<size_t>(place)] = found_by(judge_.source(target_, place));
    }
  }

  /// "surrogate/attack", and in which context where that is another one.
  std::string found_by(const std::string& source) const {
    const auto own = " in " + result_.outcome.context;
    return source.ends_with(own) ? source.substr(0, source.size() - own.size()) : source;
  }

  void attack(const PlannedStep& step, SurrogateOutcome& outcome) {
    const auto& clean = result_.outcome.clean_correct;
    const bool all = run_.options.full_matrix || step.surrogate == "ste";
    const auto given = all ? clean : standing();
    const auto before = standing();
    HpmAttackModel attacked(run_.model, judge_.targets()[target_], find_surrogate(step.surrogate), run_.peers, &judge_);
    attacked.set_scales(run_.scale_o, scale_l_);
    auto unbroken = given.clone();  // by this surrogate
    for (const auto& spec : step.attacks) {
      AttackRecord record{spec.name, step.surrogate, result_.outcome.context};
      const auto broken = attack_rows(attacked, spec, unbroken, record);
      confirm();
      record.robust = standing();
      record.matrix = unbroken.to(at::kChar) + broken.to(at::kChar);
      run_.out.attacks.push_back(std::move(record));
      unbroken = unbroken & broken.logical_not();
    }
    outcome.of = given.sum().item<int64_t>();
    outcome.broke = outcome.of - unbroken.sum().item<int64_t>();
    outcome.first = (before & standing().logical_not()).sum().item<int64_t>();
    outcome.complete = all || at::equal(given, clean);
    if (outcome.complete) outcome.accuracy = percent(unbroken);
    if (step.surrogate == "ste") result_.outcome.ste_accuracy = outcome.accuracy;
  }

  /// Attacks the images of `left` [n]; which of them it broke, confirmed, [n].
  Tensor attack_rows(HpmAttackModel& attacked, const AttackSpec& spec, const Tensor& left, AttackRecord& record) {
    const auto rows = left.nonzero().squeeze(1);
    auto broken = at::zeros_like(left);
    judge_.name_source(fmt::format("{}/{} in {}", record.surrogate, spec.name, record.context));
    run_.monitor.begin(fmt::format("{} {}/{}", record.context, record.surrogate, spec.name), rows.numel(), "images");
    const RandomStreams streams(seed_of(run_.options, record.surrogate, judge_.targets()[target_].context.kind));
    for_chunks(run_.images.subset(rows), run_.options.batch_size, [&](Images chunk, int64_t begin) {
      const auto here = rows.slice(0, begin, begin + chunk.size());
      chunk.clean_logits = clean_logits_.index_select(0, here.to(clean_logits_.device()));
      const auto key = fmt::format("{}/{}/{}/{}", record.context, record.surrogate, spec.name, begin);
      ChunkMonitor progress(run_.monitor, spec, begin, chunk.size(),
                            fmt::format("survivors {}", standing().sum().item<int64_t>()));
      const auto done = run_.log.once(key, here, [&] {
        return judged_attack(judge_, attacked, [&]() -> NamedTensors {
          const auto found = run_attack(attacked, chunk, run_.threat, spec, streams, progress);
          const auto hits = found.broken.nonzero().squeeze(1);
          const auto stands = wrong(Images{found.images, chunk.y, chunk.index}.select(hits));
          stand_for(here, hits.index({stands.to(hits.device())}), found.images);
          return {{"broken", at::zeros({chunk.size()}, at::kBool).index_copy(0, hits.to(at::kCPU), stands)}};
        });
      });
      take_over(done, judge_, record);
      broken.index_copy_(0, here, find_tensor(done, "broken"));
      run_.monitor.step(begin + chunk.size(), fmt::format("survivors {}", standing().sum().item<int64_t>()));
    });
    run_.monitor.end();
    return broken;
  }

  /// What an attack returned and a fresh pass called wrong, rows `hits` of `images` at `places`, stands for the image,
  /// not the iterate that the judge saw first: that one may be a tie which another rounding decides otherwise.
  void stand_for(const Tensor& places, const Tensor& hits, const Tensor& images) {
    const auto at_hits = places.index_select(0, hits.to(at::kCPU));
    const auto fresh = confirmed_.index_select(0, at_hits).logical_not();
    judge_.restore(target_, at_hits.index({fresh}), images.index_select(0, hits.index({fresh.to(hits.device())})));
  }

  const MsaRun& run_;
  Judge& judge_;
  size_t target_;
  std::vector<size_t> swept_;
  double scale_l_ = 1;   // standard deviation of the context's logits
  Tensor clean_logits_;  // [n,K]: of the prediction, in agreement with the verdicts
  Tensor confirmed_;     // [n] bool: broken, and judged so by a fresh pass
  ContextRun result_;
};

}  // namespace

std::unique_ptr<ContextAttack> rows_under_attack(const MsaRun& run, Judge& judge, size_t target,
                                                 std::vector<size_t> swept) {
  return std::make_unique<RowContext>(run, judge, target, std::move(swept));
}

}  // namespace hpm
