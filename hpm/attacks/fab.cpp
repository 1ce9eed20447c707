#include "hpm/attacks/fab.h"

#include <algorithm>

#include "hpm/attacks/compaction.h"
#include "hpm/attacks/finite_answers.h"
#include "hpm/attacks/hyperplane.h"
#include "hpm/core/error.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

// x (the iterate), images.x [M,C,H,W]; distances and flags [M]. M shrinks as rows are broken.

constexpr double kNone = 1e10;  // the distance of a row without an adversarial image

/// The linearised decision boundary of each row, {v : <w, v> = b}. w [M,D], b [M].
struct Boundary {
  Tensor w, b;
};

Tensor dual_norm(const Tensor& gradients, Norm norm) {  // [M,K,D] -> [M,K]
  if (norm == Norm::linf) return gradients.abs().sum(-1);
  if (norm == Norm::l2) return (gradients * gradients).sum(-1).sqrt();
  return gradients.abs().amax(-1);
}

class FabSearch {
 public:
  FabSearch(AttackModel& model, const ThreatModel& threat, const FabOptions& options)
      : model_(model),
        threat_(threat),
        options_(options),
        stays_(options.conformance || model.coupling() == Coupling::batch) {}

  FabRun operator()(const Images& images, const Tensor& start, const Tensor& targets, Monitor& monitor) {
    const int64_t n = images.size(), period = compaction_period(options_.compaction, images.x);
    whole_ = stays_ || period > 1;
    images_ = images;
    targets_ = targets;
    x_ = start.defined() ? start : images.x;
    row_ = at::arange(n, images.y.options());
    result_ = {images.x.clone(), at::full({n}, kNone, images.x.options())};
    crossed_ = at::zeros({n}, images.y.options().dtype(at::kBool));
    for (int64_t i = 0; i < options_.steps && row_.numel() > 0; ++i) {
      const auto boundary = whole_ ? linearise(ask(rows_all(), true), rows_all()) : settle();
      if (row_.numel() == 0) break;
      step(boundary);
      if (whole_) step_back_where(ask(rows_all(), false).target_logits.argmax(1).ne(images_.y));
      if (whole_ && !stays_ && (i + 1) % period == 0) leave();
      monitor.tick();
    }
    if (!whole_ && row_.numel() > 0) judge(ask(rows_all(), false), rows_all());
    return std::move(result_);
  }

 private:
  Tensor rows_all() const { return at::arange(row_.numel(), row_.options()); }

  Answer ask(const Tensor& rows, bool with_gradient) {
    const bool all = rows.numel() == row_.numel();  // in their order
    const auto of = [&](const Tensor& t) { return all ? t : t.index_select(0, rows); };
    const Loss loss{options_.targeted ? LossKind::difference : LossKind::logits, of(images_.y),
                    options_.targeted ? of(targets_) : Tensor()};
    const auto index = all ? images_.index : images_.index.index_select(0, rows.to(at::kCPU));
    return model_.ask({of(x_), index, draws_++}, with_gradient ? &loss : nullptr);
  }

  Boundary linearise(const Answer& answer, const Tensor& rows) const {
    const auto x = rows.numel() == row_.numel() ? x_ : x_.index_select(0, rows);
    Tensor f = answer.loss, w = answer.gradient;
    // Where a gradient is not a number there is no direction.
    if (!options_.conformance) w = w.nan_to_num(0., 0., 0.);
    if (!options_.targeted) {
      const auto y = images_.y.index_select(0, rows);
      const auto own = y.unsqueeze(1);
      auto w_all = w.flatten(2);
      const auto w_own = w_all.gather(1, own.unsqueeze(2).expand({-1, 1, w_all.size(2)}));
      auto f_all = (f - f.gather(1, own)).scatter(1, own, 1e10);
      w_all = w_all - w_own;
      const auto nearest = std::get<1>((f_all.abs() / (1e-12 + dual_norm(w_all, threat_.norm))).min(1)).unsqueeze(1);
      f = f_all.gather(1, nearest).squeeze(1);
      w = w_all.gather(1, nearest.unsqueeze(2).expand({-1, 1, w_all.size(2)})).view(x.sizes());
    }
    return {w.flatten(1), -f + (w * x).flatten(1).sum(-1)};
  }

  /// Brings every row to a point that is judged and, where it was wrong, stepped back; gives the boundary there. Rows
  /// that were wrong last time are likely to be wrong again: they are judged first, the others by the pass that
  /// linearises.
  Boundary settle() {
    const auto likely_wrong = crossed_.nonzero().squeeze(1);
    if (likely_wrong.numel() > 0) judge(ask(likely_wrong, false), likely_wrong);
    const auto unjudged = crossed_.new_ones(crossed_.sizes()).index_fill_(0, likely_wrong, false);
    const auto answer = ask(rows_all(), true);
    auto boundary = linearise(answer, rows_all());
    const auto surprises = (answer.target_logits.argmax(1).ne(images_.y) & unjudged).nonzero().squeeze(1);
    if (surprises.numel() > 0) {
      step_back(surprises);
      crossed_.index_fill_(0, surprises, true);
      const auto again = linearise(ask(surprises, true), surprises);
      boundary.w.index_copy_(0, surprises, again.w);
      boundary.b.index_copy_(0, surprises, again.b);
    }
    const auto left = leave();
    return left.defined() ? Boundary{boundary.w.index_select(0, left), boundary.b.index_select(0, left)} : boundary;
  }

  void step(const Boundary& boundary) {
    x_ = boundary_step(x_, images_.x, boundary.w, boundary.b, threat_.norm, {options_.eta, options_.alpha_max, whole_});
  }

  void judge(const Answer& answer, const Tensor& rows) {
    const auto wrong = answer.target_logits.argmax(1).ne(images_.y.index_select(0, rows));
    crossed_.index_copy_(0, rows, wrong);
    step_back(rows.index_select(0, wrong.nonzero().squeeze(1)));
  }

  /// Notes misclassified iterates that are nearer than before, and shrinks their perturbations.
  void step_back(const Tensor& rows) {
    if (rows.numel() == 0) return;
    const auto x = x_.index_select(0, rows), original = images_.x.index_select(0, rows);
    const auto distance = norm_of_rows(x - original, threat_.norm);
    const auto to = row_.index_select(0, rows);
    const auto nearer = distance < result_.distance.index_select(0, to);
    result_.adversarial.index_copy_(0, to, at::where(per_row(nearer, x), x, result_.adversarial.index_select(0, to)));
    result_.distance.index_copy_(0, to, at::where(nearer, distance, result_.distance.index_select(0, to)));
    x_ = x_.index_copy(0, rows, original + (x - original) * options_.beta);
  }

  /// The same for all rows at once, without asking the device which.
  void step_back_where(const Tensor& wrong) {
    const auto distance = norm_of_rows(x_ - images_.x, threat_.norm), before = result_.distance.index_select(0, row_);
    const auto nearer = wrong & (distance < before);
    put_rows_where(result_.adversarial, row_, x_, nearer);
    result_.distance.index_copy_(0, row_, at::where(nearer, distance, before));
    x_ = at::where(per_row(wrong, x_), images_.x + (x_ - images_.x) * options_.beta, x_);
  }

  /// Drops the rows whose adversarial image is within eps; returns the rows left where any was dropped.
  Tensor leave() {
    const auto outside = (result_.distance.index_select(0, row_) > threat_.eps).cpu();
    const auto stay = places_of(rows_that_stay(images_, outside));
    if (stay.numel() == row_.numel()) return {};
    images_ = images_.select(stay);
    const auto left = uploaded(stay, row_.device());
    for (Tensor* t : {&targets_, &x_, &crossed_, &row_})
      if (t->defined()) *t = t->index_select(0, left);
    return left;
  }

  AttackModel& model_;
  const ThreatModel threat_;
  const FabOptions& options_;
  const bool stays_;    // nobody leaves before the end
  bool whole_ = false;  // all rows in every pass
  Images images_;
  Tensor targets_, x_, row_, crossed_;
  FabRun result_;
  int64_t draws_ = 0;
};

/// x + eps t / (2 ||t||), t uniform in [-1,1] for Linf, else normal; clamped to the box.
Tensor start_near(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                  const Purposes& purposes) {
  const auto noise = start_noise(images, threat.norm, streams, purposes);
  const auto length = per_row(norm_of_rows(noise, threat.norm), noise);
  return (images.x + threat.eps * noise / length * .5).clamp(0., 1.);
}

/// The first run starts at the image itself.
Tensor start_of(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                const Purposes& purposes) {
  const auto random = [](const Purpose& purpose) { return purpose.restart > 0; };
  if (std::none_of(purposes.begin(), purposes.end(), random)) return {};
  auto start = start_near(images, threat, streams, purposes);
  if (!images.run.defined()) return start;
  for (size_t i = 0; i < purposes.size(); ++i)
    if (!random(purposes[i]))
      start =
          at::where(per_row(uploaded(images.run.eq(static_cast<int64_t>(i)), start.device()), start), images.x, start);
  return start;
}

/// A run as the authors' code makes it: it judges its images again, ranks the targets by one more pass, and judges what
/// it found by a third.
RunFound run_as_the_authors(AttackModel& model, const AttackRun& run, const ThreatModel& threat,
                            const FabOptions& options, const RandomStreams& streams, Monitor& monitor) {
  const auto& left = run.images;
  const auto ask = [&](const Tensor& x) { return model.ask({x, left.index}, nullptr).target_logits; };
  const auto right = ask(left.x).argmax(1).eq(left.y).nonzero().squeeze(1);
  const auto classes = options.targeted ? ranked_target(ask(left.x).index_select(0, right), run.rank) : Tensor();
  auto adversarial = left.x.clone();
  if (right.numel() > 0) {
    const auto some = left.select(right);
    const auto start = start_of(some, threat, streams, run.purposes);
    const auto found = FabSearch(model, threat, options)(some, start, classes, monitor);
    adversarial.index_copy_(0, right, found.adversarial);
  }
  const auto wrong = ask(adversarial).argmax(1).ne(left.y);
  return {adversarial, wrong & (norm_of_rows(left.x - adversarial, threat.norm) > threat.eps).logical_not()};
}

void check_options(const AttackModel& model, const FabOptions& options) {
  require(options.steps >= 1 && options.restarts >= 0 && options.targets >= 1,
          "fab: needs steps >= 1, restarts >= 0 and targets >= 1, but got {}, {} and {}", options.steps,
          options.restarts, options.targets);
  require(model.classes() >= 2, "fab: needs at least 2 classes, but the model has {}", model.classes());
}

}  // namespace

FabRun fab_run(AttackModel& model, const Images& images, const Tensor& start, const Tensor& targets,
               const ThreatModel& threat, const FabOptions& options, Monitor& monitor) {
  check_options(model, options);
  FiniteAnswers finite(model, options.stream, options.compaction);
  auto found = FabSearch(finite, threat, options)(images, start, targets, monitor);
  finite.finish();
  return found;
}

AttackResult fab(AttackModel& model, const Images& images, const ThreatModel& threat, const FabOptions& options,
                 const RandomStreams& streams, Monitor& monitor) {
  check_options(model, options);
  const RunPlan plan{.attack = options.stream,
                     .restarts = options.restarts,
                     .targets = options.targeted ? std::min(options.targets, model.classes() - 1) : 0,
                     .surrogate_ranking = !options.conformance,
                     .passes = {options.compaction, options.at_once}};
  return attack_in_runs(model, images, plan, streams, [&](AttackModel& finite, const AttackRun& run) -> RunFound {
    if (options.conformance) return run_as_the_authors(finite, run, threat, options, streams, monitor);
    const auto start = start_of(run.images, threat, streams, run.purposes);
    const auto found = FabSearch(finite, threat, options)(run.images, start, run.targets, monitor);
    return {found.adversarial, found.distance <= threat.eps, {}, false};
  });
}

AttackBudget budget_of(const FabOptions& options) {
  const int64_t runs = options.restarts * (options.targeted ? options.targets : 1);
  const int64_t gradients = options.targeted ? 1 : options.classes;
  return {{runs * (2 * options.steps + 1), runs * 2 * options.steps * gradients}, runs * options.steps};
}

}  // namespace hpm
