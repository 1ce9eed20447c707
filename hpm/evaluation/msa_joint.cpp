#include <torch/torch.h>

#include "hpm/evaluation/msa_impl.h"

namespace hpm {
namespace {

/// One fixed batch and the worst composition of it found so far.
struct Composed {
  Images images;  // the originals
  Tensor rows;    // their positions in the evaluation
  Tensor worst;   // [B,C,H,W]
  Tensor correct; // [B] at `worst`
};

class Joint {
 public:
  explicit Joint(const MsaRun& run)
      : run_(run), target_{{ContextKind::joint, run.company}, std::nullopt}, judge_(run.images.index, run.images.y, {target_}) {
    const auto positions = at::full({run.images.index.max().item<int64_t>() + 1}, -1, at::kLong);
    positions.index_copy_(0, run.images.index, at::arange(run.images.size()));
    result_.context = to_string(ContextKind::joint);
    result_.clean_prediction = at::zeros_like(run.images.y);
    for (const auto& index : run.company->batches()) {
      const auto rows = positions.index_select(0, index);
      Composed batch{run.images.select(rows), rows, {}, {}};
      batch.worst = batch.images.x;
      const auto prediction = predict(batch.images, batch.images.x);
      batch.correct = prediction.eq(batch.images.y);
      result_.clean_prediction.index_copy_(0, rows, prediction);
      batches_.push_back(std::move(batch));
    }
    result_.clean_correct = result_.clean_prediction.eq(run.images.y);
  }

  ContextOutcome operator()() {
    const auto& head = *run_.model.head;
    MsaOptions options = run_.options;
    if (!options.joint_surrogates.empty()) options.surrogates = options.joint_surrogates;
    for (const auto& step : msa_plan(options, run_.threat.norm, head.classes(), true)) {
      SurrogateOutcome result{.name = step.surrogate, .same_as = coincides_with(step.surrogate, head, ContextKind::joint),
                             .unavailable = unavailable(step.surrogate, ContextKind::joint, run_.peers)};
      if (result.same_as.empty() && result.unavailable.empty()) attack(step, result);
      result_.surrogates.push_back(std::move(result));
    }
    compose();
    result_.robust = flags();
    result_.joint_any = percent(result_.clean_correct & judge_.broken(0).logical_not());
    return std::move(result_);
  }

 private:
  /// Predictions [B] of a composed batch, from a fresh forward pass.
  Tensor predict(const Images& batch, const Tensor& x) const {
    torch::NoGradGuard guard;
    const auto out = run_.model.run(x);
    return prediction_logits(*run_.model.head, target_.context, out.features, out.logits, batch.index).argmax(1);
  }

  Tensor flags() const {
    auto all = at::zeros_like(result_.clean_correct);
    for (const auto& batch : batches_) all.index_copy_(0, batch.rows, batch.correct);
    return all;
  }

  void consider(Composed& batch, const Tensor& x, Tensor& own_worst) {
    const auto correct = predict(batch.images, x).eq(batch.images.y);
    const auto count = correct.sum().item<int64_t>();
    if (count < batch.correct.sum().item<int64_t>()) batch.worst = x, batch.correct = correct;
    if (count < own_worst.sum().item<int64_t>()) own_worst = correct;
  }

  void attack(const MsaStep& step, SurrogateOutcome& result) {
    const auto before = flags().sum().item<int64_t>();
    HpmAttackModel attacked(run_.model, target_, find_surrogate(step.surrogate), run_.peers, &judge_);
    const auto streams = streams_of(run_.options, step.surrogate);
    std::vector<Tensor> own;  // the worst of this surrogate alone, a batch
    for (const auto& batch : batches_) own.push_back(predict(batch.images, batch.images.x).eq(batch.images.y));
    for (const auto& spec : step.attacks) {
      const auto start = std::chrono::steady_clock::now();
      const auto passes = attacked.passes();
      run_.monitor.begin(fmt::format("joint {}/{}", step.surrogate, spec.name), static_cast<int64_t>(batches_.size()), "batches");
      for (size_t b = 0; b < batches_.size(); ++b) {
        const auto found = run_attack(attacked, batches_[b].images, run_.threat, spec, streams, run_.monitor);
        consider(batches_[b], found.images, own[b]);
        run_.monitor.step(static_cast<int64_t>(b) + 1, fmt::format("right {}", flags().sum().item<int64_t>()));
      }
      run_.monitor.end();
      AttackRecord record{spec.name, step.surrogate, "joint", flags(), attacked.passes() - passes};
      record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      run_.out.attacks.push_back(std::move(record));
    }
    int64_t left = 0;
    for (const auto& correct : own) left += correct.sum().item<int64_t>();
    result.complete = true;
    result.of = result_.clean_correct.sum().item<int64_t>();
    result.broke = std::max<int64_t>(result.of - left, 0);
    result.first = before - flags().sum().item<int64_t>();
    result.accuracy = 100. * static_cast<double>(left) / static_cast<double>(run_.images.size());
    if (step.surrogate == "ste") result_.ste_accuracy = result.accuracy;
  }

  /// The iterates that broke each image in some batch, put together: a new candidate, judged like the rest.
  void compose() {
    for (auto& batch : batches_) {
      const auto broken = judge_.broken(0).index_select(0, batch.rows);
      if (!broken.any().item<bool>()) continue;
      const auto found = judge_.images(0).index_select(0, batch.rows);
      auto ignored = batch.correct;
      consider(batch, at::where(per_row(broken, found), found, batch.worst), ignored);
    }
  }

  const MsaRun& run_;
  JudgedTarget target_;
  Judge judge_;
  std::vector<Composed> batches_;
  ContextOutcome result_;
};

}  // namespace

void msa_joint(const MsaRun& run) {
  const bool first = run.out.contexts.empty();
  run.out.contexts.push_back(Joint(run)());
  if (!first) return;
  run.out.adversarial = run.images.x;
  run.out.broken_by.assign(static_cast<size_t>(run.images.size()), "");
}

}  // namespace hpm
