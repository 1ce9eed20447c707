#include "hpm/attacks/rays.h"

#include <cmath>
#include <limits>

#include "hpm/attacks/compaction.h"
#include "hpm/core/error.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kResolution = .02;  // of eps: where a bisection ends

/// One run of the search. Rows are searched in step: each asks one query an iteration. D = C H W.
class Search {
 public:
  Search(AttackModel& model, const AttackRun& run, const ThreatModel& threat, const RaysOptions& options,
         const RandomStreams& streams, Monitor& monitor)
      : model_(model), images_(run.images), threat_(threat), options_(options), monitor_(monitor) {
    const auto& x = images_.x;
    const int64_t n = x.size(0);
    pixels_ = x[0].numel();
    const auto doubles = x.options().dtype(at::kDouble);
    signs_ = at::ones({n, pixels_}, x.options());
    if (run.purpose().restart > 0)
      signs_ = uploaded(streams.uniform(images_.index, {options.stream, run.purpose().restart}, {pixels_}).ge(.5),
                        x.options()) *
                   2 -
               1;
    // The length of r d is r times that of a vector of ones; the whole box is within `whole_` of every image.
    const auto d = static_cast<double>(pixels_);
    unit_ = threat.norm == Norm::linf ? 1. : threat.norm == Norm::l2 ? std::sqrt(d) : d;
    whole_ = unit_;
    best_ = at::full({n}, kInfinity, doubles);
    low_ = at::zeros({n}, doubles), high_ = at::full({n}, whole_, doubles);
    bisecting_ = at::zeros({n}, x.options().dtype(at::kBool));
    block_ = at::full({n}, -1, images_.y.options()), level_ = at::zeros({n}, images_.y.options());
    row_ = at::arange(n, images_.y.options());
    hit_ = at::zeros({n}, bisecting_.options());
    found_ = {x.clone(), hit_.clone()};
    period_ = compaction_period(0, x);
  }

  RunFound operator()() {
    for (int64_t query = 0; query < options_.queries && row_.numel() > 0; ++query) {
      step(query);
      monitor_.tick();
    }
    return found_;
  }

 private:
  /// [M,D]: the directions with the present block's signs turned. Block -1 is none.
  Tensor candidate() const {
    const auto size = at::ceil(static_cast<double>(pixels_) / at::pow(2., level_.to(at::kDouble))).to(at::kLong);
    const auto place = at::arange(pixels_, block_.options()).unsqueeze(0);
    const auto begin = (block_ * size).unsqueeze(1);
    const auto turned = place.ge(begin) & place.lt(begin + size.unsqueeze(1)) & block_.ge(0).unsqueeze(1);
    return at::where(turned, -signs_, signs_);
  }

  /// One query of every row: a candidate at the best radius so far, or the middle of a bisection.
  void step(int64_t query) {
    const auto direction = candidate();
    const auto radius = at::where(bisecting_, (low_ + high_) / 2, high_);
    const auto moved =
        images_.x + (direction * (radius / unit_).to(direction.scalar_type()).unsqueeze(1)).view_as(images_.x);
    const auto x = moved.clamp(0., 1.);
    const auto wrong = model_.ask({x, images_.index, query}, nullptr).target_logits.argmax(1).ne(images_.y);
    high_ = at::where(wrong, radius, high_);
    low_ = at::where(bisecting_ & wrong.logical_not(), radius, low_);
    const auto opened = bisecting_.logical_not() & wrong;
    low_ = at::where(opened, at::zeros_like(low_), low_);
    bisecting_ = bisecting_ | opened;
    // A break within eps ends the row; a bisection ends when it is fine enough.
    const auto broken = wrong & radius.le(threat_.eps);
    const auto fine = bisecting_ & (high_ - low_).le(kResolution * std::max(threat_.eps, 1e-6));
    signs_ = at::where((fine | broken).unsqueeze(1), direction, signs_);
    best_ = at::where(fine | broken, high_, best_);
    const auto rejected = bisecting_.logical_not() & wrong.logical_not();
    next_block(fine | rejected);
    bisecting_ = bisecting_ & fine.logical_not();
    if (period_ > 1 || broken.any().item<bool>()) take(broken, x);
    if (period_ > 1 ? (query + 1) % period_ == 0 : taken_) leave();
  }

  void next_block(const Tensor& done) {
    block_ = block_ + done.to(at::kLong);
    const auto last = done & block_.ge(at::pow(2., level_.to(at::kDouble)).to(at::kLong));
    level_ = level_ + last.to(at::kLong);
    const auto deepest = static_cast<int64_t>(std::ceil(std::log2(static_cast<double>(pixels_))));
    level_ = at::where(level_.gt(deepest), at::zeros_like(level_), level_);
    block_ = at::where(last, at::zeros_like(block_), block_);
    high_ = at::where(done, best_.clamp_max(whole_), high_);
    low_ = at::where(done, at::zeros_like(low_), low_);
  }

  /// Keeps what broke first. A broken row may stay for some queries; nothing that it finds then counts.
  void take(const Tensor& broken, const Tensor& x) {
    put_rows_where(found_.images, row_, shrink_into(x, images_.x, threat_), broken & hit_.logical_not());
    hit_ = hit_ | broken;
    found_.broken.index_copy_(0, row_, hit_);
    taken_ = true;
  }

  void leave() {
    taken_ = false;
    const auto stay = places_of(hit_.cpu().logical_not());
    if (stay.numel() == row_.numel()) return;
    images_ = images_.select(stay);
    const auto left = uploaded(stay, row_.device());
    for (Tensor* t : {&signs_, &best_, &low_, &high_, &bisecting_, &block_, &level_, &hit_, &row_})
      *t = t->index_select(0, left);
  }

  AttackModel& model_;
  Images images_;
  const ThreatModel threat_;
  const RaysOptions& options_;
  Monitor& monitor_;
  int64_t pixels_ = 0;
  double unit_ = 1, whole_ = 1;
  int64_t period_ = 1;    // see compaction_period
  bool taken_ = false;    // rows were broken since the last look
  Tensor signs_;          // [M,D]: the best direction so far
  Tensor best_;           // [M] double: its radius
  Tensor low_, high_;     // [M] double: of the bisection; high_ is the radius of a first query
  Tensor bisecting_;      // [M] bool
  Tensor block_, level_;  // [M] int64
  Tensor hit_;            // [M] bool: broken already
  Tensor row_;            // [M] int64: places among the images of the run
  RunFound found_;
};

}  // namespace

AttackResult rays(AttackModel& model, const Images& images, const ThreatModel& threat, const RaysOptions& options,
                  const RandomStreams& streams, Monitor& monitor) {
  require(model.coupling() == Coupling::rows,
          "rays: follows single images, and cannot attack a batch that is one object; use square");
  require(options.queries >= 0 && options.restarts >= 1,
          "rays: needs queries >= 0 and restarts >= 1, but got {} and {}", options.queries, options.restarts);
  return attack_in_runs(model, images, {.attack = options.stream, .restarts = options.restarts}, streams,
                        [&](AttackModel& attacked, const AttackRun& run) {
                          return Search(attacked, run, threat, options, streams, monitor)();
                        });
}

AttackBudget budget_of(const RaysOptions& options) {
  return {{options.queries * options.restarts, 0}, options.queries * options.restarts};
}

}  // namespace hpm
