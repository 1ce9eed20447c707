#include "hpm/attacks/relaxation.h"

#include <cmath>

#include "hpm/attacks/compaction.h"
#include "hpm/attacks/cpu_kernels_impl.h"
#include "hpm/attacks/pgd.h"
#include "hpm/core/error.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

constexpr double kReach = .3;  // L1: how far a step moves a coordinate, about

// x (the iterate), images.x (the originals) [M,C,H,W]; every per-row value [M]. M shrinks as rows leave.

/// s of a cycle: a share of eps.
double step_share(int64_t cycle) { return std::max(std::ldexp(.5, static_cast<int>(-cycle)), .05); }

/// x moved by noise: uniform in [-length,length] for Linf, of norm `length` otherwise.
Tensor disturbed(const Tensor& x, const Images& images, Norm norm, double length, const RandomStreams& streams,
                 const Purposes& purposes) {
  const auto noise = start_noise(images, norm, streams, purposes);
  if (norm == Norm::linf) return x + length * noise;
  return x + length * noise / (per_row(norm_of_rows(noise, norm), noise) + 1e-12);
}

/// The perturbation shortened to norm `length`; the box is not looked at.
Tensor shortened(const Tensor& x, const Tensor& originals, Norm norm, double length) {
  const auto delta = x - originals;
  if (norm == Norm::linf) return originals + delta.clamp(-length, length);
  return originals + delta * per_row((length / (norm_of_rows(delta, norm) + 1e-12)).clamp_max(1.), delta);
}

/// The nearest point of the ball around the originals and of the box.
Tensor onto_ball(const Tensor& x, const Tensor& originals, const ThreatModel& ball) {
  if (ball.norm != Norm::l1) return project(x, originals, ball);
  const auto projected = runs_on_kernels({x, originals}) ? l1_ball_in_box(originals, x - originals, ball.eps)
                                                         : project(x, originals, ball);
  return shrink_into(projected, originals, ball);  // rounding leaves it outside by a little
}

/// L1: the step goes to the coordinates of largest slope among those that the box lets move, and to so few of them that
/// each moves by about kReach. Norm 1.
Tensor sparse_direction(const Tensor& x, const Tensor& gradient, double length) {
  const auto stuck = (x.ge(1) & gradient.gt(0)) | (x.le(0) & gradient.lt(0));
  const auto slope = gradient.masked_fill(stuck, 0.);
  const auto size = slope.abs().flatten(1);
  const auto kept = std::clamp<int64_t>(static_cast<int64_t>(std::ceil(length / kReach)), 1, size.size(1));
  const auto threshold = std::get<0>(size.topk(kept, 1)).select(1, -1);
  const auto sign = (slope * slope.abs().ge(per_row(threshold, slope))).sign();
  return sign / (per_row(norm_of_rows(sign, Norm::l1), sign) + 1e-12);
}

/// A step of steepest ascent, back onto the ball.
Tensor climbed(const Tensor& x, const Tensor& gradient, const Tensor& originals, double length,
               const ThreatModel& ball) {
  if (ball.norm == Norm::linf && runs_on_kernels({x, gradient, originals}))
    return linf_momentum_step(originals, x, x, gradient, at::full({x.size(0)}, length, x.options()), 1., ball.eps);
  // Where a gradient is not a number there is no direction. The square of a very large or small one would not be
  // finite.
  const auto known = gradient.nan_to_num(0., 0., 0.);
  if (ball.norm == Norm::l1) return onto_ball(x + length * sparse_direction(x, known, length), originals, ball);
  const auto largest = known.abs().flatten(1).amax(1).clamp_min(std::numeric_limits<float>::min());
  return onto_ball(x + length * steepest_direction(known / per_row(largest, known), ball.norm), originals, ball);
}

/// On a GPU, where a look waits for the device, a cycle's rows leave together, when it gives rows up.
int64_t looks_between(const RelaxationOptions& options, const Tensor& x) {
  return options.compaction > 0 || x.is_cpu() ? compaction_period(options.compaction, x) : 3 * options.part + 1;
}

/// What all runs of an attack share.
struct Setting {
  const ThreatModel& threat;
  const RelaxationOptions& options;
  const RandomStreams& streams;
  Monitor& monitor;
  int64_t period;     // looks at iterates between two looks for broken rows
  int64_t draws = 0;  // of random models
};

class RelaxationSearch {
 public:
  RelaxationSearch(Setting& setting, AttackModel& model, const AttackRun& run, const Tensor& spread)
      : s_(setting),
        model_(model),
        coupled_(model.coupling() == Coupling::batch),
        purposes_(run.purposes),
        images_(run.images),
        targets_(run.targets),
        spread_(spread),
        row_(at::arange(run.images.size(), run.rows.options())) {
    const auto none = at::full_like(spread, std::numeric_limits<double>::infinity());
    found_ = {images_.x.clone(), at::zeros_like(images_.y, at::kBool), none.clone()};
    smallest_gap_ = none.clone(), gap_ = none;
    place_ = at::arange(run.images.size(), at::kLong), known_ = at::zeros({run.images.size()}, at::kBool);
  }

  /// PGD from a random start. Leaves in `ends` and `logits` ([M,C,H,W], [M,K]) each row's last iterate and its logits.
  RunFound warm_up(Tensor& ends, Tensor& logits) {
    const double eps = s_.threat.eps;
    x_ = onto_ball(disturbed(images_.x, images_, s_.threat.norm, eps, s_.streams, purposes_), images_.x, s_.threat);
    ends = x_.clone();
    for (int64_t i = 0; i < s_.options.warm_up && row_.numel() > 0; ++i) {
      const auto gradient = look(ask(LossKind::ce_scaled));
      if (row_.numel() == 0) break;
      x_ = climbed(x_, gradient, images_.x, eps / 4, s_.threat);
      ends.index_copy_(0, row_, x_);
      s_.monitor.tick();
    }
    if (row_.numel() > 0) look(model_.ask({x_, images_.index, s_.draws++}, nullptr));
    logits = logits_;
    return found();
  }

  /// All cycles towards the run's targets. `leading`: whole first cycles.
  RunFound cycles(const Tensor& start, bool leading) {
    x_ = start;
    const int64_t part = s_.options.part;
    for (int64_t c = 0; c < s_.options.cycles && row_.numel() > 0; ++c)
      cycle(c, c > 0 || leading ? part : (part + 1) / 2);
    return found();
  }

  const Tensor& smallest_gap() const { return smallest_gap_; }  ///< [M]: z_y - z_t in units of the spread

 private:
  void cycle(int64_t number, int64_t steps) {
    const double s = step_share(number), eps = s_.threat.eps;
    nearest_ = x_.clone();
    gap_.fill_(std::numeric_limits<double>::infinity());
    if (s_.options.relaxed) {
      climb(steps, s * eps, (1 + s) * eps, false);
      if (row_.numel() == 0) return;
      x_ = onto_ball(x_, images_.x, s_.threat);
    } else {
      climb(steps, s * eps, eps, true);
    }
    climb(steps, s * eps, eps, true);
    give_up(s_.options.give_up * s);
    if (row_.numel() == 0) return;
    const auto shorter = shortened(nearest_, images_.x, s_.threat.norm, (1 - s) * eps);
    auto noise = purposes_;
    for (auto& purpose : noise) purpose.target = purpose.target * s_.options.cycles + number;
    x_ = onto_ball(disturbed(shorter, images_, s_.threat.norm, s * eps, s_.streams, noise), images_.x, s_.threat);
    climb(s_.options.part, s * eps, eps, true);
    x_ = nearest_;
  }

  /// Steps of one length in a ball of radius `eps`. The first iterate lies within the threat model and is judged; the
  /// others are where they are `inside` it.
  void climb(int64_t steps, double length, double eps, bool inside) {
    for (int64_t i = 0; i < steps && row_.numel() > 0; ++i) {
      const auto answer = ask(LossKind::difference);
      const auto gradient = inside || i == 0 ? look(answer) : answer.gradient;
      if (row_.numel() == 0) return;
      x_ = climbed(x_, gradient, images_.x, length, {s_.threat.norm, eps});
      s_.monitor.tick();
    }
  }

  Answer ask(LossKind kind) {
    const Loss loss{kind, images_.y, targets_};
    return model_.ask({x_, images_.index, s_.draws++}, &loss);
  }

  /// Judges the iterate, notes how near it came, and lets broken rows leave. The gradient of the rows that stay.
  Tensor look(const Answer& answer) {
    const auto& logits = answer.target_logits;
    const auto wrong = logits.argmax(1).ne(images_.y);
    if (!logits_.defined()) logits_ = logits.clone();
    logits_.index_copy_(0, row_, logits);
    lower(found_.margin, margin(logits, images_.y) / spread_);
    if (targets_.defined()) note_gap(logits);
    auto gradient = answer.gradient;
    if (coupled_) {
      worst_.see(x_, wrong);
      return gradient;
    }
    put_rows_where(found_.images, row_, x_, wrong);
    found_.broken.index_copy_(0, row_, found_.broken.index_select(0, row_) | wrong);
    if (++looks_ % s_.period == 0) keep({}, gradient);
    return gradient;
  }

  void note_gap(const Tensor& logits) {
    const auto y = images_.y.unsqueeze(1), t = targets_.unsqueeze(1);
    const auto gap = (logits.gather(1, y) - logits.gather(1, t)).squeeze(1) / spread_;
    lower(smallest_gap_, gap);
    const auto nearer = gap < gap_;
    gap_ = at::where(nearer, gap, gap_);
    if (runs_on_kernels({x_, nearest_})) copy_rows_where(nearer.contiguous(), x_, nearest_);
    else nearest_ = at::where(per_row(nearer, x_), x_, nearest_);
  }

  /// Rows too far from their targets leave. A coupled batch leaves as a whole, where all its rows are too far.
  void give_up(double largest) {
    const auto near = gap_ <= largest;
    looks_ = 0;
    Tensor none;
    if (!coupled_) keep(near, none);
    else if (!near.any().item<bool>()) row_ = row_.slice(0, 0, 0);
  }

  /// values[row] = min(values[row], now).
  void lower(Tensor& values, const Tensor& now) {
    values.index_copy_(0, row_, at::min(values.index_select(0, row_), now));
  }

  /// The rows go on that are not broken and, if `near` [M] is defined, hold in it.
  void keep(const Tensor& near, Tensor& gradient) {
    auto broken = found_.broken.index_select(0, row_);
    auto stay = near.defined() ? near & broken.logical_not() : broken.logical_not();
    if (!x_.is_cpu()) {
      const auto both = at::stack({broken, stay}).cpu();
      broken = both[0], stay = both[1];
      known_.index_copy_(0, place_, broken);
    }
    stay = stay & rows_that_stay(images_, broken.logical_not());
    const auto places = places_of(stay);
    if (places.numel() == row_.numel()) return;
    images_ = images_.select(places);
    place_ = place_.index_select(0, places);
    const auto rows = uploaded(places, row_.device());
    for (Tensor* t : {&targets_, &spread_, &row_, &x_, &nearest_, &gap_, &gradient})
      if (t->defined()) *t = t->index_select(0, rows);
  }

  RunFound found() const {
    if (coupled_) return {worst_.images, worst_.wrong, found_.margin};
    auto found = found_;
    if (row_.numel() == 0) found.known = known_;  // each was looked at when it left
    return found;
  }

  Setting& s_;
  AttackModel& model_;
  const bool coupled_;
  const Purposes purposes_;
  Images images_;
  Tensor targets_, spread_;  // of the rows that go on
  Tensor row_, place_;       // [M] int64: their places in the run; place_ is on the CPU
  Tensor x_;                 // the iterate
  Tensor gap_, nearest_;     // of this cycle: the smallest z_y - z_t, and the iterate that has it
  RunFound found_;           // of all rows of the run, as are the next three
  Tensor smallest_gap_, logits_;
  Tensor known_;      // [N] bool (CPU), of a device: found_.broken as it was at the last look
  WorstBatch worst_;  // of a coupled batch
  int64_t looks_ = 0;
};

class Attack {
 public:
  Attack(AttackModel& model, const Images& images, const ThreatModel& threat, const RelaxationOptions& options,
         const RandomStreams& streams, Monitor& monitor)
      : images_(images),
        options_(options),
        setting_{threat, options, streams, monitor, looks_between(options, images.x)},
        runs_(model, images, options.stream, streams, {options.compaction, options.at_once}),
        spread_(logit_spread(runs_.clean())) {}

  AttackResult operator()() {
    warm_up();
    const auto targets = targets_by_rank();
    std::vector<RunAim> leading, others;
    for (size_t t = 0; t < targets.size(); ++t)
      (is_leading(t) ? leading : others).push_back(aim(targets[t], t, 0, targets[t].fresh));
    towards(leading), towards(others);
    for (int64_t start = 1; start <= options_.starts; ++start) {
      const auto near = (at::stack(gaps_) < options_.near).cpu();
      std::vector<RunAim> again;
      for (size_t t = 0; t < targets.size(); ++t)
        again.push_back(aim(targets[t], t, start, near[static_cast<int64_t>(t)]));
      towards(again);
    }
    return runs_.finish();
  }

 private:
  void warm_up() {
    ends_ = images_.x.clone();
    ranking_ = runs_.clean().clone();
    runs_(
        [&](AttackModel& model, const AttackRun& run) {
          Tensor ends, logits;
          auto found = RelaxationSearch(setting_, model, run, spread_.index_select(0, run.rows)).warm_up(ends, logits);
          ends_.index_copy_(0, run.rows, ends);
          ranking_.index_copy_(0, run.rows, logits);
          return found;
        },
        {{.purpose = {warm_up_stream_}}});
  }

  /// The target classes by rank; where `fresh` is undefined, of all rows.
  std::vector<SurrogateTargets> targets_by_rank() {
    const auto own = images_.y.unsqueeze(1);
    const auto others = ranking_.scatter(1, own, std::numeric_limits<double>::infinity());
    const auto count = std::min(options_.targets, ranking_.size(1) - 1);
    std::vector<SurrogateTargets> all;
    for (int64_t t = 0; t < count; ++t) all.push_back({ranked_target(others, t + 2), {}});
    auto at_ends = images_;
    at_ends.x = ends_;
    for (auto& extra : surrogate_targets(runs_.model(), at_ends, others, count)) all.push_back(std::move(extra));
    for (size_t t = 0; t < all.size(); ++t)
      gaps_.push_back(at::full_like(spread_, std::numeric_limits<double>::infinity()));
    return all;
  }

  bool is_leading(size_t t) const { return static_cast<int64_t>(t) < options_.leading; }

  RunAim aim(const SurrogateTargets& target, size_t t, int64_t start, const Tensor& only) const {
    return {{options_.stream, start, static_cast<int64_t>(t)}, target.classes, 0, only};
  }

  /// From one start (all aims have the same Purpose::restart), towards targets that are all leading or none of them.
  void towards(const std::vector<RunAim>& aims) {
    runs_(
        [&](AttackModel& model, const AttackRun& run) {
          RelaxationSearch search(setting_, model, run, spread_.index_select(0, run.rows));
          const auto& [name, start, first] = run.purpose();
          auto found = search.cycles(start == 0 ? ends_.index_select(0, run.rows) : random_point(run),
                                     start > 0 || is_leading(static_cast<size_t>(first)));
          note_gaps(run, search.smallest_gap());
          return found;
        },
        aims);
  }

  void note_gaps(const AttackRun& run, const Tensor& smallest) {
    for (size_t i = 0; i < run.purposes.size(); ++i) {
      auto& gaps = gaps_[static_cast<size_t>(run.purposes[i].target)];
      auto rows = run.rows, now = smallest;
      if (run.images.run.defined()) {
        const auto mine = uploaded(places_of(run.images.run.eq(static_cast<int64_t>(i))), rows.device());
        rows = rows.index_select(0, mine), now = now.index_select(0, mine);
      }
      gaps.index_copy_(0, rows, at::min(gaps.index_select(0, rows), now));
    }
  }

  Tensor random_point(const AttackRun& run) const {
    auto purposes = run.purposes;
    for (auto& purpose : purposes) purpose.name = start_stream_;
    const auto& threat = setting_.threat;
    return onto_ball(disturbed(run.images.x, run.images, threat.norm, threat.eps, setting_.streams, purposes),
                     run.images.x, threat);
  }

  const Images& images_;
  const RelaxationOptions& options_;
  const std::string warm_up_stream_ = options_.stream + " warm-up", start_stream_ = options_.stream + " start";
  Setting setting_;
  AttackRuns runs_;
  Tensor spread_;             // [N]: of the clean logits
  Tensor ends_, ranking_;     // [N,C,H,W], [N,K]: where the PGD ended, and the logits there
  std::vector<Tensor> gaps_;  // a target: [N] the smallest z_y - z_t seen
};

void check_options(const AttackModel& model, const RelaxationOptions& o) {
  require(o.warm_up >= 0 && o.targets >= 1 && o.leading >= 0 && o.cycles >= 1 && o.part >= 1 && o.starts >= 0,
          "relaxation: needs warm_up >= 0, targets >= 1, leading >= 0, cycles >= 1, part >= 1 and starts >= 0, but got "
          "{}, {}, {}, {}, {} and {}",
          o.warm_up, o.targets, o.leading, o.cycles, o.part, o.starts);
  require(o.give_up >= 0 && o.near >= 0, "relaxation: needs give_up >= 0 and near >= 0, but got {} and {}", o.give_up,
          o.near);
  require(model.classes() >= 2, "relaxation: needs at least 2 classes, but the model has {}", model.classes());
}

}  // namespace

AttackBudget budget_of(const RelaxationOptions& o) {
  const int64_t cycle = 3 * o.part, shorter = 2 * (o.part - (o.part + 1) / 2);
  const int64_t late = std::max<int64_t>(o.targets - o.leading, 0);
  const int64_t steps = o.warm_up + o.targets * (1 + o.starts) * o.cycles * cycle - late * shorter;
  // Most targets are given up in the first cycle: progress is counted by these.
  const int64_t ticks = o.warm_up + o.targets * 2 * o.part - late * shorter;
  return {{steps + 1, steps}, ticks};
}

AttackResult relaxation(AttackModel& model, const Images& images, const ThreatModel& threat,
                        const RelaxationOptions& options, const RandomStreams& streams, Monitor& monitor) {
  check_options(model, options);
  return Attack(model, images, threat, options, streams, monitor)();
}

}  // namespace hpm
