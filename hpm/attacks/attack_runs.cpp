#include "hpm/attacks/attack_runs.h"

#include "hpm/attacks/compaction.h"
#include "hpm/core/transfer.h"

namespace hpm {

AttackRuns::AttackRuns(AttackModel& model, const Images& images, const std::string& attack,
                       const RandomStreams& streams, int64_t compaction)
    : model_(model, attack, compaction), images_(images), coupled_(model.coupling() == Coupling::batch) {
  clean_ = clean_logits(model_, images);
  streams.begin_attack();
  result_ = {images.x.clone(), clean_.argmax(1).ne(images.y)};
}

bool AttackRuns::operator()(const Run& run, const Purpose& purpose, const Tensor& targets, int64_t rank,
                            const Tensor& only) {
  const auto places = rows_to_attack(only);
  if (places.numel() == 0) return false;
  const auto rows = uploaded(places, images_.y.device());
  const AttackRun given{images_.select(places), rows, targets.defined() ? targets.index_select(0, rows) : Tensor(),
                        rank, purpose};
  take(rows, places, run(model_, given));
  return true;
}

AttackResult AttackRuns::finish() {
  model_.finish();
  return std::move(result_);
}

/// Their places, on the CPU.
Tensor AttackRuns::rows_to_attack(const Tensor& only) {
  if (coupled_) {
    const bool any = !only.defined() || only.any().item<bool>();
    return at::arange(any ? images_.size() : 0, at::kLong);
  }
  if (!known_.defined()) known_ = result_.broken.cpu();
  const auto left = known_.logical_not();
  return places_of(only.defined() ? left & only.cpu() : left);
}

void AttackRuns::take(const Tensor& rows, const Tensor& places, const RunFound& found) {
  if (found.margin.defined()) note_margin(rows, found.margin);
  if (coupled_) return take_batch(found);
  put_rows_where(result_.images, rows, found.images, found.broken);
  result_.broken.index_copy_(0, rows, result_.broken.index_select(0, rows) | found.broken);
  if (!found.known.defined() || images_.x.is_cpu()) known_.reset();
  else known_.index_copy_(0, places, known_.index_select(0, places) | found.known);
}

void AttackRuns::take_batch(const RunFound& found) {
  auto images = found.images, wrong = found.broken;
  if (!found.together) {
    images = at::where(per_row(wrong, images), images, images_.x);
    wrong = model_.ask({images, images_.index}, nullptr).target_logits.argmax(1).ne(images_.y);
  }
  const auto worse = wrong.sum() > result_.broken.sum();
  if (!images.is_cpu()) {
    result_.images = at::where(worse, images, result_.images), result_.broken = at::where(worse, wrong, result_.broken);
  } else if (worse.item<bool>()) {
    result_.images = images, result_.broken = wrong;
  }
}

void AttackRuns::note_margin(const Tensor& rows, const Tensor& margin) {
  auto& smallest = result_.margin;
  if (!smallest.defined())
    smallest = at::full({images_.size()}, std::numeric_limits<double>::infinity(), margin.options());
  smallest.index_copy_(0, rows, at::min(smallest.index_select(0, rows), margin));
}

AttackResult attack_in_runs(AttackModel& model, const Images& images, const RunPlan& plan, const RandomStreams& streams,
                            const AttackRuns::Run& run) {
  AttackRuns runs(model, images, plan.attack, streams, plan.compaction);
  const auto towards = [&](const Tensor& classes, int64_t rank, int64_t target, const Tensor& only = {}) {
    for (int64_t restart = 0; restart < plan.restarts; ++restart)
      if (!runs(run, {plan.attack, restart, target}, classes, rank, only)) return;
  };
  if (plan.targets == 0) towards({}, 0, 0);
  for (int64_t t = 0; t < plan.targets; ++t) {
    const auto rank = t + plan.first_rank;
    towards(ranked_target(runs.clean(), rank), rank, t);
  }
  if (plan.targets > 0 && plan.surrogate_ranking) {
    int64_t t = plan.targets;
    for (const auto& [classes, fresh] : surrogate_targets(runs.model(), images, runs.clean(), plan.targets))
      towards(classes, 0, t++, fresh);
  }
  return runs.finish();
}

void WorstBatch::see(const Tensor& x, const Tensor& wrong_now) {
  const auto count = wrong_now.sum();
  if (!images.defined()) {
    images = x.clone(), wrong = wrong_now.clone(), most_wrong_ = count;
    return;
  }
  const auto worse = count > most_wrong_;
  if (!x.is_cpu()) {  // without asking the device
    images = at::where(worse, x, images), wrong = at::where(worse, wrong_now, wrong);
    most_wrong_ = at::maximum(count, most_wrong_);
  } else if (worse.item<bool>()) {
    images = x.clone(), wrong = wrong_now.clone(), most_wrong_ = count;
  }
}

Tensor start_noise(const Images& images, Norm norm, const RandomStreams& streams, const Purpose& purpose) {
  const auto tail = images.x.sizes().slice(1);
  const auto noise = norm == Norm::linf ? 2 * streams.uniform(images.index, purpose, tail) - 1
                                        : streams.normal(images.index, purpose, tail);
  return uploaded(noise, images.x.options());
}

Tensor ranked_target(const Tensor& logits, int64_t rank) {
  return std::get<1>(logits.sort(1)).select(1, -rank).contiguous();
}

std::vector<SurrogateTargets> surrogate_targets(AttackModel& model, const Images& images, const Tensor& clean,
                                                int64_t targets) {
  std::vector<SurrogateTargets> all;
  if (!model.has_surrogate_logits() || targets + 1 >= model.classes()) return all;
  // The true class is made the surrogate's first. Where the surrogate prefers another class, that one is a target.
  const auto ranking = model.surrogate_logits({images.x, images.index})
                           .scatter(1, images.y.unsqueeze(1), std::numeric_limits<double>::infinity());
  const auto tried = std::get<1>(clean.topk(targets + 1, 1));
  std::vector<Tensor> fresh;
  for (int64_t rank = 2; rank < targets + 2; ++rank) {
    const auto classes = ranked_target(ranking, rank);
    fresh.push_back(tried.eq(classes.unsqueeze(1)).any(1).logical_not());
    all.push_back({at::where(fresh.back(), classes, ranked_target(clean, rank)), {}});
  }
  if (all.empty()) return all;
  const auto known = at::stack(fresh).cpu().unbind(0);
  for (size_t r = 0; r < all.size(); ++r) all[r].fresh = known[r];
  return all;
}

}  // namespace hpm
