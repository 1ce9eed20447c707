#include "hpm/attacks/square.h"

#include <cmath>

#include "hpm/attacks/compaction.h"
#include "hpm/attacks/cpu_kernels_impl.h"
#include "hpm/attacks/finite_answers.h"
#include "hpm/attacks/square_kernels_impl.h"
#include "hpm/attacks/square_windows_impl.h"
#include "hpm/core/error.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

// x (the originals), best, candidate [M,C,H,W]; margins and flags [M]. M shrinks as rows are broken.

Tensor channel_norm(const Tensor& v, Norm norm) {  // [M,C,h,w] -> [M,C,1,1]
  return norm == Norm::l2 ? (v * v).sum({-2, -1}, true).sqrt() : v.abs().sum({-2, -1}, true);
}

Tensor image_norm(const Tensor& v, Norm norm) { return per_row(norm_of_rows(v, norm), v); }

class SquareSearch {
 public:
  SquareSearch(AttackModel& model, const ThreatModel& threat, const SquareOptions& options,
               const RandomStreams& streams, int64_t restart)
      : model_(model),
        threat_(threat),
        options_(options),
        coupled_(model.coupling() == Coupling::batch),
        draws_(streams, options.stream, restart, options.conformance) {}

  SquareRun operator()(const Images& images, Monitor& monitor) {
    const int64_t n = images.size();
    images_ = images;
    images_.x = images.x.contiguous();
    row_ = at::arange(n, images.y.options());
    draws_.begin(images.index, -1, images.x.options());
    best_ = threat_.norm == Norm::linf ? stripes() : tiles();
    const auto first = judge(best_, 0);
    margin_ = first.margin;
    result_.best = best_.clone(), result_.broken = first.wrong;
    result_.queries = at::ones({n}, images.y.options());
    broken_ = first.wrong;
    if (options_.conformance && first.margin.lt(0).all().item<bool>()) return std::move(result_);
    const auto period = compaction_period(options_.compaction, images.x);
    if (!coupled_ && period == 1) drop();
    for (int64_t i = 0; i < options_.queries && row_.numel() > 0; ++i) {
      draws_.begin(images_.index, i, images_.x.options());
      if (threat_.norm == Norm::linf) {
        try_patch(i);
      } else {
        const auto candidate = with_moved_mass(i);
        accept(candidate, judge(candidate, i + 1));
      }
      if (!coupled_ && (i + 1) % period == 0) drop();
      monitor.tick();
    }
    if (coupled_) result_.best = worst_.images, result_.broken = worst_.wrong;
    else keep(at::arange(row_.numel(), row_.options()));
    return std::move(result_);
  }

 private:
  struct Judgement {
    Tensor margin, wrong;
  };

  Judgement judge(const Tensor& x, int64_t draw) {
    const auto logits = model_.ask({x, images_.index, draw}, nullptr).target_logits;
    const auto values = margin(logits, images_.y);
    const Judgement now{values, options_.conformance ? values.le(0) : logits.argmax(1).ne(images_.y)};
    // A batch counts by its wrong predictions, also where the search, which follows the margins, does not go on from
    // it.
    if (coupled_) worst_.see(x, now.wrong);
    return now;
  }

  int64_t window_side(int64_t iteration, int64_t least) const {
    const auto pixels = static_cast<double>(images_.x[0].numel()) / static_cast<double>(images_.x.size(1));
    const auto side = std::nearbyint(std::sqrt(square_share(iteration, options_) * pixels));
    return std::max(static_cast<int64_t>(side), least);
  }

  /// Linf: vertical stripes of +-eps in each channel.
  Tensor stripes() {
    const auto& x = images_.x;
    return (x + threat_.eps * draws_.signs({x.size(1), 1, x.size(3)}, false)).clamp(0., 1.);
  }

  /// Linf: a window of one colour, +-2 eps per channel, clipped to the ball. It is written into the best image, and
  /// taken out again where it is not accepted.
  void try_patch(int64_t iteration) {
    const auto& x = images_.x;
    const int64_t h = x.size(2), w = x.size(3), side = std::min({window_side(iteration, 1), h, w});
    const Windows window(draws_.corner(h - side, w - side), side, x);
    const auto colour = 2. * threat_.eps * draws_.signs({x.size(1), 1, 1}, true);
    const auto here = window.read(x), before = window.read(best_).clone();
    const auto after = at::min(at::max(before + colour, here - threat_.eps), here + threat_.eps).clamp(0., 1.);
    window.write(best_, after);
    const auto now = judge(best_, iteration + 1);
    const auto better = improved(now);
    window.write(best_, at::where(per_row(better, after), after, before));
    settle(now, better);
  }

  /// L2, L1: a grid of bumps, 5 to the height.
  Tensor tiles() {
    const auto& x = images_.x;
    const int64_t h = x.size(2), w = x.size(3), side = std::max<int64_t>(h / 5, 1), offset = (h - side * 5) / 2;
    auto delta = at::zeros_like(x);
    for (int64_t i = 0, top = offset; i < h / side; ++i, top += side)
      for (int64_t j = 0, left = offset; j < w / side; ++j, left += side) {
        const auto eta = pattern(side);  // draws before the signs do
        const auto tile = eta * draws_.signs({x.size(1), 1, 1}, false);
        auto place = delta.slice(2, std::min(top, h), std::min(top + side, h))
                         .slice(3, std::min(left, w), std::min(left + side, w));
        place += tile.slice(2, 0, place.size(2)).slice(3, 0, place.size(3));
      }
    return onto_sphere(delta);
  }

  /// The bump pattern, transposed for about half of the rows: [M or 1,1,side,side].
  Tensor pattern(int64_t side) {
    const auto& upright = upright_pattern(side);
    const auto turned = draws_.transposed().view({-1, 1, 1, 1});
    // Contiguous: the order of sums over a window, and so their last bits, follow the layout.
    return at::where(turned, upright.t(), upright).contiguous();
  }

  const Tensor& upright_pattern(int64_t side) {
    if (side != pattern_side_)
      pattern_ = bump_pattern(side, threat_.norm == Norm::l2, images_.x.options()), pattern_side_ = side;
    return pattern_;
  }

  /// L2, L1: takes the mass out of window 2, and adds it to window 1 with what the image has left.
  Tensor with_moved_mass(int64_t iteration) {
    const auto& x = images_.x;
    const int64_t h = x.size(2), w = x.size(3);
    const auto channels = static_cast<double>(x.size(1));
    int64_t side = window_side(iteration, 3);
    side = std::min({side + (side % 2 == 0), h, w});
    const auto corner = draws_.corner(h - side, w - side), corner_two = draws_.corner(h - side, w - side);
    if (!options_.conformance && runs_on_kernels({x, best_})) {
      const auto turned = draws_.transposed();
      const MassMove move{corner, corner_two, upright_pattern(side), turned, draws_.signs({x.size(1), 1, 1}, false)};
      return onto_sphere(moved_mass(x, best_, move, threat_.eps, threat_.norm == Norm::l2));
    }
    const Windows one(corner, side, x), two(corner_two, side, x);

    auto delta = best_ - x;
    const auto in_both = channel_norm(delta * (one.mask(x) | two.mask(x)), threat_.norm);
    const auto used = image_norm(delta, threat_.norm);
    const auto old = one.read(delta);
    const auto eta = pattern(side);
    auto mass = eta * draws_.signs({x.size(1), 1, 1}, false) + old / (1e-12 + channel_norm(old, threat_.norm));
    mass = mass / (1e-12 + channel_norm(mass, threat_.norm));
    if (threat_.norm == Norm::l2) {
      const auto radius = at::full_like(used, threat_.eps);
      mass = mass * ((radius * radius - used * used).clamp_min(0) / channels + in_both * in_both).sqrt();
    } else {
      mass = mass * ((threat_.eps - used).clamp_min(0) / channels + in_both) * channels;
    }
    two.write(delta, at::zeros({1, 1, 1, 1}, delta.options()));
    one.write(delta, mass);
    return onto_sphere(delta);
  }

  Tensor onto_sphere(const Tensor& delta) const {
    const auto& x = images_.x;
    if (threat_.norm == Norm::l1) {
      const double eps = threat_.eps * (1 - 1e-6);
      if (!options_.conformance && runs_on_kernels({x, delta})) return l1_ball_in_box(x, delta, eps);
      const auto projected = x + delta + project_l1_box(x, delta, eps);
      return options_.conformance ? projected : shrink_into(projected, x, threat_);
    }
    if (!options_.conformance && runs_on_kernels({x, delta})) return onto_l2_sphere_in_box(x, delta, threat_.eps);
    return (x + delta / (image_norm(delta, Norm::l2) + 1e-12) * threat_.eps).clamp(0., 1.);
  }

  Tensor improved(const Judgement& now) const {
    if (coupled_) return (now.margin.sum() < margin_.sum()).expand_as(now.wrong);
    return ((now.margin < margin_) | now.wrong) & broken_.logical_not();
  }

  void accept(const Tensor& candidate, const Judgement& now) {
    const auto better = improved(now);
    if (runs_on_kernels({candidate, best_})) copy_rows_where(better.contiguous(), candidate, best_);
    else best_ = at::where(per_row(better, best_), candidate, best_);
    settle(now, better);
  }

  void settle(const Judgement& now, const Tensor& better) {
    result_.queries.index_add_(0, row_, coupled_ ? at::ones_like(row_) : broken_.logical_not().to(at::kLong));
    margin_ = at::where(better, now.margin, margin_);
    broken_ = coupled_ ? at::where(better, now.wrong, broken_) : broken_ | now.wrong;
  }

  /// Broken rows leave.
  void drop() {
    const auto broken = broken_.cpu();
    const auto done = places_of(broken);
    if (done.numel() == 0) return;
    keep(uploaded(done, row_.device()));
    const auto stay = places_of(broken.logical_not());
    images_ = images_.select(stay);
    const auto left = uploaded(stay, row_.device());
    for (Tensor* t : {&best_, &margin_, &broken_, &row_}) *t = t->index_select(0, left);
  }

  void keep(const Tensor& rows) {
    const auto to = row_.index_select(0, rows);
    result_.best.index_copy_(0, to, best_.index_select(0, rows));
    result_.broken.index_copy_(0, to, broken_.index_select(0, rows));
  }

  AttackModel& model_;
  const ThreatModel threat_;
  const SquareOptions& options_;
  const bool coupled_;
  SquareDraws draws_;
  Images images_;
  Tensor best_, margin_, broken_, row_;
  WorstBatch worst_;  // of a coupled batch
  SquareRun result_;
  Tensor pattern_;  // of the last side
  int64_t pattern_side_ = 0;
};

void check_options(const SquareOptions& options) {
  require(options.queries >= 0 && options.restarts >= 0 && options.share > 0 && options.share <= 1,
          "square: needs queries >= 0, restarts >= 0 and a share in (0,1], but got {}, {} and {}", options.queries,
          options.restarts, options.share);
}

}  // namespace

double square_share(int64_t iteration, const SquareOptions& options) {
  if (options.rescale_schedule)
    iteration = static_cast<int64_t>(static_cast<double>(iteration) / static_cast<double>(options.queries) * 10000);
  double share = options.share;
  for (int64_t bound : {10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000})
    if (iteration > bound) share /= 2;
  return share;
}

SquareRun square_run(AttackModel& model, const Images& images, const ThreatModel& threat, const SquareOptions& options,
                     const RandomStreams& streams, int64_t restart, Monitor& monitor) {
  check_options(options);
  FiniteAnswers finite(model, options.stream, options.compaction);
  auto found = SquareSearch(finite, threat, options, streams, restart)(images, monitor);
  finite.finish();
  return found;
}

AttackResult square(AttackModel& model, const Images& images, const ThreatModel& threat, const SquareOptions& options,
                    const RandomStreams& streams, Monitor& monitor) {
  check_options(options);
  const RunPlan plan{.attack = options.stream, .restarts = options.restarts, .passes = {options.compaction}};
  return attack_in_runs(model, images, plan, streams, [&](AttackModel& finite, const AttackRun& run) -> RunFound {
    const auto& left = run.images;
    const auto found = SquareSearch(finite, threat, options, streams, run.purpose().restart)(left, monitor);
    if (!options.conformance) return {found.best, found.broken};
    // In conformance a tie of margins ends a row's search, but the prediction decides.
    return {found.best, finite.ask({found.best, left.index}, nullptr).target_logits.argmax(1).ne(left.y)};
  });
}

AttackBudget budget_of(const SquareOptions& options) {
  return {{options.restarts * (options.queries + 1), 0}, options.restarts * options.queries};
}

}  // namespace hpm
