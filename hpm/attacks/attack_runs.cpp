#include "hpm/attacks/attack_runs.h"

#include <algorithm>
#include <utility>

#include "hpm/attacks/compaction.h"
#include "hpm/core/transfer.h"

namespace hpm {

namespace {

constexpr int64_t kRowsOnCpu = 64;

int64_t rows_at_once(const AttackModel& model, const Images& images, int64_t asked) {
  if (asked == 0 || model.coupling() == Coupling::batch || model.random() || model.shares_iterates()) return 0;
  // Rows of an image know each other by its number.
  if (std::get<0>(at::_unique(images.index)).numel() < images.size()) return 0;
  return images.x.is_cpu() ? std::min(asked, kRowsOnCpu) : asked;
}

}  // namespace

AttackRuns::AttackRuns(AttackModel& model, const Images& images, const std::string& attack,
                       const RandomStreams& streams, const RunPasses& passes)
    : model_(model, attack, passes.compaction),
      images_(images),
      coupled_(model.coupling() == Coupling::batch),
      at_once_(rows_at_once(model, images, passes.at_once)) {
  clean_ = clean_logits(model_, images);
  streams.begin_attack();
  result_ = {images.x.clone(), clean_.argmax(1).ne(images.y)};
}

void AttackRuns::operator()(const Run& run, const std::vector<RunAim>& aims) {
  for (size_t next = 0; next < aims.size();) {
    std::vector<Block> blocks;
    for (int64_t rows = 0; next < aims.size(); ++next) {
      auto places = rows_to_attack(aims[next].only);
      if (!blocks.empty() && rows + places.numel() > at_once_) break;
      rows += places.numel();
      if (places.numel() > 0) blocks.push_back({&aims[next], std::move(places)});
    }
    if (blocks.empty()) return;
    const auto given = run_of(blocks);
    take(blocks, given, run(model_, given));
  }
}

AttackRun AttackRuns::run_of(const std::vector<Block>& blocks) const {
  std::vector<Tensor> places, numbers, targets;
  AttackRun run;
  for (const auto& [aim, rows] : blocks) {
    numbers.push_back(at::full_like(rows, static_cast<int64_t>(places.size())));
    places.push_back(rows);
    if (aim->targets.defined()) targets.push_back(aim->targets.index_select(0, uploaded(rows, aim->targets.device())));
    run.purposes.push_back(aim->purpose);
  }
  const auto all = at::cat(places);
  run.images = images_.select(all);
  if (blocks.size() > 1) run.images.run = at::cat(numbers);
  run.rows = uploaded(all, images_.y.device());
  if (!targets.empty()) run.targets = at::cat(targets);
  run.rank = blocks.size() == 1 ? blocks.front().aim->rank : 0;
  return run;
}

/// What breaks an image in several runs: the first one's find counts, which is therefore written last.
void AttackRuns::take(const std::vector<Block>& blocks, const AttackRun& run, const RunFound& found) {
  if (blocks.size() == 1) return take(run.rows, blocks.front().places, found);
  auto end = run.rows.size(0);
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const auto begin = end - block->places.numel();
    const auto part = [&](const Tensor& t) { return t.defined() ? t.slice(0, begin, end) : t; };
    take(part(run.rows), block->places,
         {part(found.images), part(found.broken), part(found.margin), found.together, part(found.known)});
    end = begin;
  }
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
  AttackRuns runs(model, images, plan.attack, streams, plan.passes);
  std::vector<RunAim> aims;
  const auto add = [&](const RunAim& aim) {
    for (int64_t restart = 0; restart < plan.restarts; ++restart) {
      aims.push_back(aim);
      aims.back().purpose.restart = restart;
    }
  };
  if (plan.targets == 0) add({{plan.attack}});
  for (int64_t t = 0; t < plan.targets; ++t) {
    const auto rank = t + plan.first_rank;
    add({{plan.attack, 0, t}, ranked_target(runs.clean(), rank), rank});
  }
  runs(run, std::exchange(aims, {}));
  if (plan.targets > 0 && plan.surrogate_ranking) {
    int64_t t = plan.targets;
    for (const auto& [classes, fresh] : surrogate_targets(runs.model(), images, runs.clean(), plan.targets))
      add({{plan.attack, 0, t++}, classes, 0, fresh});
    runs(run, aims);
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

Tensor start_noise(const Images& images, Norm norm, const RandomStreams& streams, const Purposes& purposes) {
  const auto tail = images.x.sizes().slice(1);
  const auto draw = [&](const Tensor& index, const Purpose& purpose) {
    return norm == Norm::linf ? 2 * streams.uniform(index, purpose, tail) - 1 : streams.normal(index, purpose, tail);
  };
  if (!images.run.defined()) return uploaded(draw(images.index, purposes.front()), images.x.options());
  auto noise = at::empty(images.x.sizes(), at::kFloat);
  for (size_t i = 0; i < purposes.size(); ++i) {
    const auto rows = places_of(images.run.eq(static_cast<int64_t>(i)));
    if (rows.numel() > 0) noise.index_copy_(0, rows, draw(images.index.index_select(0, rows), purposes[i]));
  }
  return uploaded(noise, images.x.options());
}

Tensor start_noise(const Images& images, Norm norm, const RandomStreams& streams, const Purpose& purpose) {
  return start_noise(images, norm, streams, Purposes{purpose});
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
