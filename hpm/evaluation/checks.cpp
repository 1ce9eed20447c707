#include "hpm/evaluation/checks.h"

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/square.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using Status = CheckOutcome::Status;

CheckOutcome judged(const std::string& name, double value, double limit, const std::string& unit,
                    const std::string& detail) {
  return {name, value > limit ? Status::failed : Status::passed, value, limit, unit, detail};
}

class Checks {
 public:
  Checks(CheckSubject& subject, const ImageSet& images, const ThreatModel& threat, const Evaluation& evaluation,
         const CheckOptions& options, Monitor& monitor)
      : subject_(subject),
        images_(images),
        threat_(threat),
        evaluation_(evaluation),
        options_(options),
        monitor_(monitor),
        streams_(options.seed ^ 0xc4ec75ull),
        coupled_(subject.attacked.coupling() == Coupling::batch) {
    const auto count = std::min(options.sample, images.size());
    sample_ = images.slice(0, count);
  }

  /// With the whole box allowed, an attack that sees the gradient breaks everything.
  CheckOutcome unbounded() {
    if (!options_.gradients) return without_gradients("unbounded");
    const double eps = threat_.norm == Norm::linf ? 1. : threat_.norm == Norm::l2 ? std::sqrt(dims()) : dims();
    const auto result =
        apgd(subject_.attacked, sample_, {threat_.norm, eps}, {.steps = 50, .stream = "check"}, streams_, monitor_);
    const auto left = percent(result.broken.logical_not());
    return judged("unbounded", left, 1, "%",
                  fmt::format("APGD-CE with eps = {:.3g} left {:.1f} % of {} images", eps, left, sample_.size()));
  }

  /// An exactly zero gradient at the start tells an attack nothing.
  CheckOutcome zero_gradients() {
    if (!options_.gradients) return without_gradients("zero gradients");
    const Loss loss{LossKind::ce, sample_.y, {}};
    const auto gradient = subject_.attacked.ask({sample_.x, sample_.index}, &loss).gradient;
    const auto zero = percent(gradient.abs().flatten(1).amax(1).eq(0));
    return judged("zero gradients", zero, 5, "%",
                  fmt::format("{:.1f} % of {} images have a gradient of exactly zero", zero, sample_.size()));
  }

  CheckOutcome finite() {
    const Loss loss{LossKind::ce, sample_.y, {}};
    const auto answer = subject_.attacked.ask({sample_.x, sample_.index}, options_.gradients ? &loss : nullptr);
    int64_t bad = 0;
    const auto count = [&](const Tensor& t) {
      if (t.defined()) bad += t.isfinite().logical_not().sum().item<int64_t>();
    };
    count(answer.target_logits), count(answer.loss), count(answer.gradient);
    if (evaluation_.adversarial.defined())
      for_chunks(evaluation_.adversarial.set(), options_.batch_size,
                 [&](const Images& part, int64_t) { count(part.x); });
    return judged("NaN or infinite", static_cast<double>(bad), 0, "values",
                  fmt::format("{} in the logits{} of {} images and in all adversarial images", bad,
                              options_.gradients ? ", losses and gradients" : "", sample_.size()));
  }

  CheckOutcome ball_and_box() {
    if (!evaluation_.adversarial.defined())
      return {"ball and box", Status::not_run, {}, {}, "", "no adversarial images"};
    const double allowed = allowed_norm(threat_, static_cast<int64_t>(dims()));
    double largest = 0, low = 1, high = 0;
    for_chunks(evaluation_.adversarial.set(), options_.batch_size, [&](const Images& part, int64_t begin) {
      const auto x = part.x.to(at::kDouble);
      const auto delta = x - images_.slice(begin, begin + part.size()).x;
      largest = std::max(largest, norm_of_rows(delta, threat_.norm).max().item<double>());
      low = std::min(low, x.min().item<double>()), high = std::max(high, x.max().item<double>());
    });
    const bool outside = largest > allowed || low < 0 || high > 1;
    const auto status = options_.conformance ? Status::reported : outside ? Status::failed : Status::passed;
    return {"ball and box",
            status,
            largest,
            allowed,
            "norm",
            fmt::format("largest {} norm {:.7g} for eps {:.7g}; values in [{:.3g}, {:.3g}]", to_string(threat_.norm),
                        largest, threat_.eps, low, high)};
  }

  CheckOutcome determinism() {
    const auto once = subject_.predict(sample_.x, sample_.index).argmax(1),
               again = subject_.predict(sample_.x, sample_.index).argmax(1);
    const auto changed = static_cast<double>(once.ne(again).sum().item<int64_t>());
    if (subject_.attacked.random())
      return {"determinism", Status::reported, changed, {}, "images", "the model is declared random"};
    return judged("determinism", changed, 0, "images",
                  fmt::format("{} of {} predictions differ when repeated", changed, sample_.size()));
  }

  /// Permuted, split, duplicated and padded batches must not change a prediction.
  CheckOutcome consistency() {
    const int64_t n = sample_.size();
    const auto expected = subject_.predict(sample_.x, sample_.index).argmax(1).to(at::kCPU);
    auto changed = at::zeros({n}, at::kBool);
    const auto compare = [&](const Tensor& rows) {
      const auto part = sample_.select(rows);
      const auto seen = subject_.predict(part.x, part.index).argmax(1).to(at::kCPU);
      const auto differs = seen.ne(expected.index_select(0, rows)).nonzero().squeeze(1);
      changed.index_fill_(0, rows.index_select(0, differs), true);
    };
    const auto all = at::arange(n);
    compare(all.flip(0));
    compare(all.slice(0, 0, (n + 1) / 2));
    compare(at::cat({all, all}));
    compare(at::cat({all, at::zeros({5}, at::kLong)}));
    const auto count = changed.sum().item<int64_t>();
    auto detail =
        fmt::format("{} of {} predictions change when the batch is permuted, split, duplicated or padded", count, n);
    if (subject_.batch_dependent || subject_.attacked.random())
      return {"consistency", Status::reported, static_cast<double>(count), {}, "images", detail + " (expected here)"};
    return judged("consistency", static_cast<double>(count), 0, "images", detail);
  }

  CheckOutcome reload(const std::optional<ImageSet>& saved) {
    if (!saved)
      return {"reload", Status::not_run, {}, {}, "", "adversarial images were not saved (--save-adversarial)"};
    int64_t differing = 0;
    const auto adversarial = evaluation_.adversarial.set();
    for_chunks(*saved, options_.batch_size, [&](const Images& chunk, int64_t begin) {
      const auto before = subject_.predict(adversarial.slice(begin, begin + chunk.size()).x, chunk.index).argmax(1);
      differing += before.ne(subject_.predict(chunk.x, chunk.index).argmax(1)).sum().item<int64_t>();
    });
    return judged("reload", static_cast<double>(differing), 0, "images",
                  fmt::format("{} predictions differ on the images read back", differing));
  }

  /// Four times the iterations should find little more.
  CheckOutcome convergence() {
    if (!options_.gradients) return without_gradients("convergence");
    if (coupled_) return {"convergence", Status::not_run, {}, {}, "", "judged for independent rows"};
    return survivors_broken_by("convergence", 1, "APGD-CE with 200 iterations", [&](const Images& chunk) {
      return apgd(subject_.attacked, chunk, threat_, {.steps = 200, .stream = "check convergence"}, streams_, monitor_);
    });
  }

  CheckOutcome query_after_white_box() {
    if (coupled_) return {"Square after white-box", Status::not_run, {}, {}, "", "judged for independent rows"};
    return survivors_broken_by("Square after white-box", .2, "Square with 1000 queries", [&](const Images& chunk) {
      return square(subject_.attacked, chunk, threat_, {.queries = 1000, .stream = "check square"}, streams_, monitor_);
    });
  }

 private:
  static CheckOutcome without_gradients(const std::string& name) {
    return {name, Status::not_run, {}, {}, "", "the attacks asked for no gradient"};
  }

  template <class Attack>
  CheckOutcome survivors_broken_by(const std::string& name, double limit, const std::string& what, Attack attack) {
    const auto survivors = images_.subset(evaluation_.first().robust);
    int64_t broken = 0;
    monitor_.begin("check: " + name, survivors.size(), "images");
    for_chunks(survivors, options_.batch_size, [&](const Images& chunk, int64_t begin) {
      broken += attack(chunk).broken.sum().template item<int64_t>();
      monitor_.step(begin + chunk.size(), fmt::format("{} broken", broken));
    });
    monitor_.end();
    const double points = 100. * static_cast<double>(broken) / static_cast<double>(images_.size());
    return judged(name, points, limit, "points",
                  fmt::format("{} broke {} of {} survivors", what, broken, survivors.size()));
  }

  double dims() const { return static_cast<double>(c10::multiply_integers(images_.shape())); }

  CheckSubject& subject_;
  const ImageSet& images_;
  const ThreatModel& threat_;
  const Evaluation& evaluation_;
  const CheckOptions& options_;
  Monitor& monitor_;
  RandomStreams streams_;
  bool coupled_;
  Images sample_;
};

}  // namespace

std::vector<CheckOutcome> run_checks(CheckSubject subject, const ImageSet& images, const ThreatModel& threat,
                                     const Evaluation& evaluation, const std::optional<ImageSet>& saved,
                                     const CheckOptions& options, Monitor& monitor) {
  require(options.level == "none" || options.level == "basic" || options.level == "full",
          "checks: needs none, basic or full, but got \"{}\"", options.level);
  if (options.level == "none") return {};
  Checks checks(subject, images, threat, evaluation, options, monitor);
  std::vector<CheckOutcome> all{checks.unbounded(),    checks.zero_gradients(), checks.finite(),
                                checks.ball_and_box(), checks.determinism(),    checks.consistency(),
                                checks.reload(saved)};
  const auto transfer = [&] {
    double points = 0;
    bool ran = false;
    for (const auto& surrogate : evaluation.first().surrogates)
      if (surrogate.name == "base" || surrogate.name == "control")
        ran |= surrogate.unavailable.empty(),
            points += 100. * static_cast<double>(surrogate.first) / static_cast<double>(images.size());
    return ran ? judged("transfer", points, .5, "points",
                        fmt::format("base and control broke {:.1f} points beyond white-box", points))
               : CheckOutcome{"transfer", Status::not_run,
                              {},         {},
                              "",         "no transfer surrogate ran (msa with --base or --control, version standard)"};
  }();
  all.push_back(transfer);
  if (options.level == "full") all.push_back(checks.convergence()), all.push_back(checks.query_after_white_box());
  return all;
}

}  // namespace hpm
