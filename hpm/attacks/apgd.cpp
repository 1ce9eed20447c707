#include "hpm/attacks/apgd.h"

#include "hpm/attacks/compaction.h"
#include "hpm/attacks/cpu_kernels_impl.h"
#include "hpm/attacks/finite_answers.h"
#include "hpm/core/error.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

// x, x_adv [M,C,H,W]; every per-row value [M]. M shrinks as rows are broken.

/// The tensors of a run that shrink together when broken rows leave.
struct State {
  Images images;
  Tensor targets;
  Tensor x_adv, x_old, gradient;          // the iterate, the one before, the gradient at the iterate
  Tensor best, best_gradient, best_loss;  // the iterate with the largest loss
  Tensor correct;                         // [M] bool
  Tensor step;                            // [M,1,1,1]
  Tensor best_at_check, reduced;          // [M] at the last check: best loss, and whether the step was halved (0/1)
  Tensor topk, sparsity;                  // [M] L1: share of coordinates to move, L0 norm at the last check
  Tensor row;                             // [M] int64: the row of the caller's batch
  std::vector<Tensor> losses;             // the period's losses, one [M] a step, preceded by the last one before it

  /// The rows `places` (on the CPU) go on.
  void keep(const Tensor& places) {
    images = images.select(places);
    const auto rows = uploaded(places, row.device());
    for (Tensor* t : {&targets, &x_adv, &x_old, &gradient, &best, &best_gradient, &best_loss, &correct, &step,
                      &best_at_check, &reduced, &topk, &sparsity, &row})
      if (t->defined()) *t = t->index_select(0, rows);
    for (auto& loss : losses) loss = loss.index_select(0, rows);
  }
};

struct Iterate {
  Tensor gradient, loss, correct;
};

class ApgdSearch {
 public:
  ApgdSearch(AttackModel& model, const ThreatModel& threat, const ApgdOptions& options, bool may_drop)
      : model_(model),
        threat_(threat),
        options_(options),
        coupled_(model.coupling() == Coupling::batch),
        drop_(may_drop && !options.conformance && !coupled_) {}

  ApgdRun operator()(const Images& images, const ApgdStart& start, const Tensor& targets, Monitor& monitor) {
    const int64_t n = images.size();
    result_ = {images.x.clone(), at::ones({n}, images.y.options().dtype(at::kBool)), {}, {}};
    period_ = compaction_period(options_.compaction, images.x);
    begin(images, start, targets);
    const bool l1 = threat_.norm == Norm::l1;
    int64_t period =
        l1 ? std::max<int64_t>(options_.steps * 4 / 100, 1) : std::max<int64_t>(options_.steps * 22 / 100, 1);
    const int64_t shrink = l1 ? 0 : std::max<int64_t>(options_.steps * 3 / 100, 1);
    const int64_t shortest = l1 ? period : std::max<int64_t>(options_.steps * 6 / 100, 1);
    int64_t since_check = 0;
    for (int64_t i = 0; i < options_.steps && s_.row.numel() > 0; ++i) {
      step(i);
      record(evaluate());
      if (++since_check == period) {
        if (l1) check_sparsity();
        else check_progress(period);
        s_.losses = {s_.losses.back()};
        since_check = 0;
        period = std::max(period - shrink, shortest);
      }
      if (drop_ && (i + 1) % period_ == 0) drop_broken(options_.steps - i - 1);
      monitor.tick();
    }
    flush(at::arange(s_.row.numel(), s_.row.options()));
    if (coupled_) result_.adversarial = worst_.images, result_.correct = worst_.wrong.logical_not();
    return std::move(result_);
  }

 private:
  void begin(const Images& images, const ApgdStart& start, const Tensor& targets) {
    const int64_t n = images.size();
    s_.images = images;
    s_.targets = targets;
    s_.x_adv = start.x.clamp(0., 1.);
    if (threat_.norm == Norm::l1 && !options_.conformance) s_.x_adv = shrink_into(s_.x_adv, images.x, threat_);
    s_.row = at::arange(n, images.y.options());
    s_.correct = at::ones({n}, images.y.options().dtype(at::kBool));
    result_.best = s_.x_adv.clone();
    const auto values = images.x.options().dtype(at::kFloat);  // also where images are double: as the authors' code
    s_.step = per_row(at::full({n}, threat_.norm == Norm::l1 ? threat_.eps : 2. * threat_.eps, values), images.x);
    if (threat_.norm == Norm::l1) {
      const auto dims = static_cast<double>(images.x.numel() / std::max<int64_t>(n, 1));
      s_.sparsity = start.random ? at::full({n}, dims, values) : zero_norm(s_.x_adv - images.x);
      s_.topk = start.random ? at::full({n}, .2, values) : s_.sparsity / dims / 1.5;
    }
    const auto first = evaluate();
    s_.gradient = first.gradient;
    s_.best = s_.x_adv.clone();
    s_.best_gradient = first.gradient.clone();
    s_.best_loss = first.loss.clone();
    s_.best_at_check = first.loss.clone();
    s_.reduced = at::ones_like(first.loss);
    // The first check compares the first step's loss with zero, not with the start's: as the authors' code does.
    s_.losses = {at::zeros_like(first.loss)};
    s_.x_old = s_.x_adv.clone();
    judge(first.correct);
    result_.best_loss = first.loss.clone();
    if (drop_ && period_ == 1) drop_broken(options_.steps);
  }

  /// Loss, gradient and verdict at the iterate. EoT averages gradients; loss and verdict are the last draw's.
  Iterate evaluate() {
    Iterate e;
    const Loss loss{options_.loss, s_.images.y, s_.targets};
    Answer answer;
    for (int64_t draw = 0; draw < options_.eot; ++draw) {
      answer = model_.ask({s_.x_adv, s_.images.index, draws_++}, &loss);
      e.gradient = draw == 0 ? answer.gradient : e.gradient + answer.gradient;
    }
    if (options_.eot > 1) e.gradient = e.gradient / static_cast<double>(options_.eot);
    // Where a gradient is not a number there is no direction; sign() has none either.
    if (threat_.norm != Norm::linf && !options_.conformance) e.gradient = e.gradient.nan_to_num(0., 0., 0.);
    e.loss = coupled_ ? answer.loss.sum().expand_as(answer.loss).contiguous() : answer.loss;
    e.correct = answer.target_logits.argmax(1).eq(s_.images.y);
    return e;
  }

  void step(int64_t i) {
    const auto& x = s_.images.x;
    Tensor next;
    if (threat_.norm == Norm::l1) {
      const auto y = sparse_step();
      if (!options_.conformance && runs_on_kernels({x, y})) next = l1_ball_in_box(x, y - x, threat_.eps);
      else next = project(y, x, threat_);
      if (!options_.conformance) next = shrink_into(next, x, threat_);
    } else if (threat_.norm == Norm::linf && runs_on_kernels({x, s_.x_adv, s_.x_old, s_.gradient, s_.step})) {
      next = linf_momentum_step(x, s_.x_adv, s_.x_old, s_.gradient, s_.step, i > 0 ? .75 : 1., threat_.eps);
    } else {
      const double a = i > 0 ? .75 : 1.;
      const auto momentum = s_.x_adv - s_.x_old;
      const auto z = project(s_.x_adv + s_.step * direction(), x, threat_);
      next = project(s_.x_adv + (z - s_.x_adv) * a + momentum * (1 - a), x, threat_);
    }
    s_.x_old = s_.x_adv;
    s_.x_adv = next;
  }

  Tensor direction() const {
    if (threat_.norm == Norm::linf) return s_.gradient.sign();
    return s_.gradient / (per_row(norm_of_rows(s_.gradient, Norm::l2), s_.gradient) + 1e-12);
  }

  Tensor sparse_step() const {
    const auto size = s_.gradient.abs().flatten(1);
    const auto dims = size.size(1);
    const auto place = at::clamp((1. - s_.topk) * static_cast<double>(dims), 0, dims - 1).to(at::kLong);
    const auto threshold = runs_on_kernels({size}) ? order_statistic(size, place.contiguous())
                                                   : std::get<0>(size.sort(1)).gather(1, place.unsqueeze(1)).squeeze(1);
    const auto kept = (s_.gradient * per_row(threshold, s_.gradient).le(s_.gradient.abs())).sign();
    return s_.x_adv + s_.step * kept / (per_row(kept.abs().flatten(1).sum(1), kept) + 1e-10);
  }

  void judge(const Tensor& correct_now) {
    s_.correct = s_.correct & correct_now;
    if (coupled_) return worst_.see(s_.x_adv, correct_now.logical_not());
    put_rows_where(result_.adversarial, s_.row, s_.x_adv, correct_now.logical_not());
    result_.correct.index_copy_(0, s_.row, s_.correct);
  }

  void record(const Iterate& e) {
    s_.gradient = e.gradient;
    judge(e.correct);
    const auto better = e.loss > s_.best_loss;
    if (runs_on_kernels({s_.x_adv, e.gradient, s_.best, s_.best_gradient})) {
      copy_rows_where(better.contiguous(), s_.x_adv, s_.best);
      copy_rows_where(better.contiguous(), e.gradient, s_.best_gradient);
    } else {
      const auto rows = per_row(better, s_.x_adv);
      s_.best = at::where(rows, s_.x_adv, s_.best);
      s_.best_gradient = at::where(rows, e.gradient, s_.best_gradient);
    }
    s_.best_loss = at::where(better, e.loss, s_.best_loss);
    s_.losses.push_back(e.loss);
  }

  /// Conditions 1 and 2 of Algorithm 1: halve the step and go on from the best point.
  void check_progress(int64_t period) {
    auto rises = at::zeros_like(s_.best_loss);
    for (size_t j = 1; j < s_.losses.size(); ++j) rises += s_.losses[j] > s_.losses[j - 1];
    const auto oscillates = rises <= static_cast<double>(period) * options_.rho * at::ones_like(rises);
    const auto stalls = s_.reduced.eq(0) & s_.best_at_check.ge(s_.best_loss);
    const auto halve = oscillates | stalls;
    s_.reduced = halve.to(s_.best_loss.scalar_type());
    s_.best_at_check = s_.best_loss.clone();
    const auto rows = per_row(halve, s_.x_adv);
    s_.step = at::where(rows, s_.step / 2., s_.step);
    restart_from_best(rows);
  }

  /// L1: adapt the number of coordinates to the sparsity of the best point.
  void check_sparsity() {
    const auto now = zero_norm(s_.best - s_.images.x);
    const auto sparser = (now / s_.sparsity) < .95;
    s_.topk = now / static_cast<double>(s_.x_adv.numel() / s_.x_adv.size(0)) / 1.5;
    const auto rows = per_row(sparser, s_.x_adv);
    s_.step = at::where(rows, at::full_like(s_.step, threat_.eps), s_.step / 1.5).clamp(threat_.eps / 10., threat_.eps);
    s_.sparsity = now;
    restart_from_best(rows);
  }

  void restart_from_best(const Tensor& rows) {
    s_.x_adv = at::where(rows, s_.best, s_.x_adv);
    s_.gradient = at::where(rows, s_.best_gradient, s_.gradient);
  }

  static Tensor zero_norm(const Tensor& v) { return v.ne(0).flatten(1).sum(1).to(at::kFloat); }

  /// Broken rows leave once they are an eighth of the batch. A look that waits for a device is not worth it for the
  /// last few steps.
  void drop_broken(int64_t steps_left) {
    if (2 * steps_left < period_) return;
    const auto correct = rows_that_stay(s_.images, s_.correct.cpu());
    const auto alive = places_of(correct);
    const auto rows = s_.row.numel();
    if (alive.numel() == rows || (alive.numel() > 0 && (rows - alive.numel()) * 8 < rows)) return;
    flush(uploaded(places_of(correct.logical_not()), s_.row.device()));
    s_.keep(alive);
  }

  void flush(const Tensor& rows) {
    const auto to = s_.row.index_select(0, rows);
    result_.best.index_copy_(0, to, s_.best.index_select(0, rows));
    result_.best_loss.index_copy_(0, to, s_.best_loss.index_select(0, rows));
  }

  AttackModel& model_;
  const ThreatModel threat_;
  const ApgdOptions& options_;
  const bool coupled_, drop_;
  State s_;
  ApgdRun result_;
  int64_t period_ = 1;
  int64_t draws_ = 0;
  WorstBatch worst_;  // of a coupled batch
};

/// How APGD runs, from whichever start and towards whichever classes.
struct Setting {
  AttackModel& model;
  const ThreatModel& threat;
  const ApgdOptions& options;
  const RandomStreams& streams;
  Monitor& monitor;
};

/// L1: three stages with shrinking radius, each from the projection of the last one's highest-loss point.
ApgdRun run_with_large_radius(const Setting& s, const Images& images, const Tensor& targets, const Purposes& purposes) {
  auto stage = s.options;
  auto x = images.x + start_noise(images, s.threat.norm, s.streams, purposes);
  ApgdRun run;
  int64_t used = 0;
  for (int i = 0; i < 3; ++i) {
    const ThreatModel radius{s.threat.norm, (3. - i) * s.threat.eps};
    stage.steps = i < 2 ? (s.options.steps * 3 + 9) / 10 : s.options.steps - used;
    used += stage.steps;
    x = x + project_l1_box(images.x, x - images.x, radius.eps);
    if (i == 0) x = x + project_l1_box(images.x, x - images.x, radius.eps);
    // The authors' code draws a random start here that it does not use; a conformance stream must advance as theirs
    // does.
    if (s.options.conformance) s.streams.normal(images.index, purposes.front(), images.x.sizes().slice(1));
    run = ApgdSearch(s.model, radius, stage, i == 2)(images, {x}, targets, s.monitor);
    x = run.best;
  }
  return run;
}

ApgdRun random_run(const Setting& s, const Images& images, const Tensor& targets, const Purposes& purposes) {
  if (s.threat.norm == Norm::l1 && s.options.large_radius) return run_with_large_radius(s, images, targets, purposes);
  return ApgdSearch(s.model, s.threat, s.options, true)(images, apgd_start(images, s.threat, s.streams, purposes),
                                                        targets, s.monitor);
}

bool is_targeted(LossKind loss) {
  return loss == LossKind::dlr_targeted || loss == LossKind::difference || loss == LossKind::own;
}

void check_options(AttackModel& model, const ApgdOptions& options) {
  require(options.steps >= 1 && options.restarts >= 0 && options.targets >= 1 && options.eot >= 1,
          "apgd: needs steps >= 1, restarts >= 0, targets >= 1 and eot >= 1, but got {}, {}, {} and {}", options.steps,
          options.restarts, options.targets, options.eot);
  const int64_t needed = options.loss == LossKind::dlr ? 3 : options.loss == LossKind::dlr_targeted ? 4 : 2;
  require(model.classes() >= needed, "apgd: the loss {} needs at least {} classes, but the model has {}",
          to_string(options.loss), needed, model.classes());
}

}  // namespace

ApgdStart apgd_start(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                     const Purposes& purposes) {
  return {random_start(images.x, start_noise(images, threat.norm, streams, purposes), threat), true};
}

ApgdStart apgd_start(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                     const Purpose& purpose) {
  return apgd_start(images, threat, streams, Purposes{purpose});
}

ApgdRun apgd_run(AttackModel& model, const Images& images, const ApgdStart& start, const Tensor& targets,
                 const ThreatModel& threat, const ApgdOptions& options, Monitor& monitor) {
  check_options(model, options);
  FiniteAnswers finite(model, options.stream, options.compaction);
  auto found = ApgdSearch(finite, threat, options, true)(images, start, targets, monitor);
  finite.finish();
  return found;
}

AttackResult apgd(AttackModel& model, const Images& images, const ThreatModel& threat, const ApgdOptions& options,
                  const RandomStreams& streams, Monitor& monitor) {
  check_options(model, options);
  const bool own = options.loss == LossKind::own, targeted = is_targeted(options.loss);
  // A surrogate's own objective aims at the label itself too.
  const int64_t first_rank = own ? 1 : 2;
  const RunPlan plan{.attack = options.stream,
                     .restarts = options.restarts,
                     .targets = targeted ? std::min(options.targets, model.classes() + 1 - first_rank) : 0,
                     .first_rank = first_rank,
                     .surrogate_ranking = options.loss == LossKind::dlr_targeted,
                     .passes = {options.compaction, options.at_once}};
  return attack_in_runs(model, images, plan, streams, [&](AttackModel& finite, const AttackRun& run) -> RunFound {
    auto classes = run.targets;
    if (options.conformance && run.rank > 0)  // the authors' code ranks the remaining rows again before each run
      classes = ranked_target(finite.ask({run.images.x, run.images.index}, nullptr).target_logits, run.rank);
    const auto found = random_run({finite, threat, options, streams, monitor}, run.images, classes, run.purposes);
    return {found.adversarial, found.correct.logical_not()};
  });
}

AttackBudget budget_of(const ApgdOptions& options) {
  const bool targeted = is_targeted(options.loss);
  const int64_t runs = options.restarts * (targeted ? options.targets : 1);
  const int64_t starts = options.large_radius ? 3 : 1;  // each stage asks at its start too
  const int64_t asked = runs * (options.steps + starts) * options.eot;
  return {{asked, asked}, runs * options.steps};
}

}  // namespace hpm
