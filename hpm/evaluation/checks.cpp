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
        coupled_(subject.attacked.coupling() == Coupling::batch),
        views_{&subject.attacked} {
    views_.insert(views_.end(), subject.others.begin(), subject.others.end());
    const auto count = std::min(options.sample, images.size());
    sample_ = images.slice(0, count);
  }

  /// With the whole box allowed, an attack that sees the gradient breaks everything.
  CheckOutcome unbounded() {
    if (!options_.gradients) return without_gradients("unbounded");
    const double eps = threat_.norm == Norm::linf ? 1. : threat_.norm == Norm::l2 ? std::sqrt(dims()) : dims();
    auto left = at::arange(sample_.size());
    for (auto* view : views_) {
      const auto part = sample_.select(coupled_ ? at::arange(sample_.size()) : left);
      const auto stands = apgd(*view, part, {threat_.norm, eps}, {.steps = 50, .stream = "check"}, streams_, monitor_)
                              .broken.logical_not()
                              .to(at::kCPU);
      left = left.index({coupled_ ? stands.index_select(0, left) : stands});
      if (left.numel() == 0) break;
    }
    const auto share = 100. * static_cast<double>(left.numel()) / static_cast<double>(sample_.size());
    return judged("unbounded", share, 1, "%",
                  fmt::format("APGD-CE with eps = {:.3g} left {:.1f} % of {} images", eps, share, sample_.size()));
  }

  /// An exactly zero gradient at the image, in the attacks' own losses, tells an attack nothing. An image that is wrong already
  /// needs none (and DLR is constant where the true class ranks third).
  CheckOutcome zero_gradients() {
    if (!options_.gradients) return without_gradients("zero gradients");
    const auto zeros_of = [&](LossKind kind) {
      const Loss loss{kind, sample_.y, {}};
      auto zeros = at::ones({sample_.size()}, sample_.y.options().dtype(at::kBool));
      for (auto* view : views_) {
        const auto answer = view->ask({sample_.x, sample_.index}, &loss);
        zeros &= answer.gradient.abs().flatten(1).amax(1).eq(0) & answer.target_logits.argmax(1).eq(sample_.y);
      }
      return percent(zeros);
    };
    const double ce = zeros_of(LossKind::ce), dlr = subject_.attacked.classes() < 3 ? 0 : zeros_of(LossKind::dlr);
    return judged("zero gradients", std::max(ce, dlr), 5, "%",
                  fmt::format("of {} images {:.1f} % have a gradient of exactly zero in the cross-entropy, {:.1f} % in "
                              "the difference of logits ratio",
                              sample_.size(), ce, dlr));
  }

  CheckOutcome finite() {
    const Loss loss{LossKind::ce, sample_.y, {}};
    int64_t bad = 0;
    const auto count = [&](const Tensor& t) {
      if (t.defined()) bad += t.isfinite().logical_not().sum().item<int64_t>();
    };
    for (auto* view : views_) {
      const auto answer = view->ask({sample_.x, sample_.index}, options_.gradients ? &loss : nullptr);
      count(answer.target_logits), count(answer.loss), count(answer.gradient);
    }
    if (evaluation_.adversarial.defined() && first())
      for_chunks(evaluation_.adversarial.set(), options_.batch_size,
                 [&](const Images& part, int64_t) { count(part.x); });
    return judged(
        "NaN or infinite", static_cast<double>(bad), 0, "values",
        fmt::format("{} in the logits{} of {} images{}", bad, options_.gradients ? ", losses and gradients" : "",
                    sample_.size(), first() ? " and in all adversarial images" : ""));
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
    const auto [broken, survivors] = survivors_broken_by("convergence", [&](const Images& chunk) {
      auto stands = at::ones({chunk.size()}, at::kBool);
      for (auto* view : views_)
        stands &= apgd(*view, chunk, threat_, {.steps = 200, .stream = "check convergence"}, streams_, monitor_)
                      .broken.logical_not()
                      .to(at::kCPU);
      return stands.logical_not();
    });
    const auto share = survivors ? 100. * static_cast<double>(broken) / static_cast<double>(survivors) : 0.;
    return judged("convergence", share, 1, "% of the survivors",
                  fmt::format("APGD-CE with 200 iterations broke {} of {} survivors", broken, survivors));
  }

  /// What Square broke of what the white-box attacks had left: the evaluation's own, and a thousand queries more.
  CheckOutcome query_after_white_box() {
    if (coupled_) return {"Square after white-box", Status::not_run, {}, {}, "", "judged for independent rows"};
    const auto own = broken_by_square();
    const auto [broken, survivors] = survivors_broken_by("Square after white-box", [&](const Images& chunk) {
      return square(subject_.attacked, chunk, threat_, {.queries = 1000, .stream = "check square"}, streams_, monitor_)
          .broken;
    });
    return judged(
        "Square after white-box", points(own + broken), .2, "points",
        fmt::format("the evaluation's Square broke {}, then 1000 queries {} of {} survivors", own, broken, survivors));
  }

  CheckOutcome transfer() {
    int64_t first = 0;
    bool ran = false;
    for (const auto& surrogate : outcome().surrogates)
      if (surrogate.name == "base" || surrogate.name == "control")
        ran |= surrogate.unavailable.empty(), first += surrogate.first;
    if (!ran)
      return {"transfer", Status::not_run, {}, {}, "", "no transfer surrogate ran (msa with --base or --control)"};
    return judged("transfer", points(first), .5, "points",
                  fmt::format("base and control broke {:.1f} points beyond white-box", points(first)));
  }

  /// The lines of one context.
  std::vector<CheckOutcome> run(const std::optional<ImageSet>& saved) {
    std::vector<CheckOutcome> all{unbounded(), zero_gradients(), finite()};
    if (first()) all.push_back(ball_and_box());
    all.push_back(determinism()), all.push_back(consistency());
    if (first()) all.push_back(reload(saved));
    all.push_back(transfer());
    if (options_.level == "full") all.push_back(convergence()), all.push_back(query_after_white_box());
    for (auto& check : all) check.context = outcome().context;
    return all;
  }

 private:
  static CheckOutcome without_gradients(const std::string& name) {
    return {name, Status::not_run, {}, {}, "", "the attacks asked for no gradient"};
  }

  const ContextOutcome& outcome() const { return evaluation_.contexts.at(subject_.context); }
  bool first() const { return subject_.context == 0; }
  double points(int64_t images) const {
    return 100. * static_cast<double>(images) / static_cast<double>(images_.size());
  }

  /// Images that the evaluation's own Square broke first, in this context.
  int64_t broken_by_square() const {
    for (const auto& surrogate : outcome().surrogates)
      if (surrogate.name == "query") return surrogate.first;
    int64_t first = 0;
    Tensor before;  // after the attacks before it
    for (const auto& attack : evaluation_.attacks) {
      if (attack.context != outcome().context) continue;
      if (attack.name == "square" && before.defined())
        first += (before & attack.robust.logical_not()).sum().item<int64_t>();
      before = attack.robust;
    }
    return first;
  }

  /// How many of the survivors `attack` breaks (images of a chunk -> [N] bool), and how many there are.
  template <class Attack>
  std::pair<int64_t, int64_t> survivors_broken_by(const std::string& name, Attack attack) {
    const auto survivors = images_.subset(outcome().robust);
    int64_t broken = 0;
    monitor_.begin("check: " + name, survivors.size(), "images");
    for_chunks(survivors, options_.batch_size, [&](const Images& chunk, int64_t begin) {
      broken += attack(chunk).sum().template item<int64_t>();
      monitor_.step(begin + chunk.size(), fmt::format("{} broken", broken));
    });
    monitor_.end();
    return {broken, survivors.size()};
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
  std::vector<AttackModel*> views_;
  Images sample_;
};

}  // namespace

std::vector<CheckOutcome> run_checks(CheckSubject subject, const ImageSet& images, const ThreatModel& threat,
                                     const Evaluation& evaluation, const std::optional<ImageSet>& saved,
                                     const CheckOptions& options, Monitor& monitor) {
  require(options.level == "none" || options.level == "basic" || options.level == "full",
          "checks: needs none, basic or full, but got \"{}\"", options.level);
  if (options.level == "none") return {};
  return Checks(subject, images, threat, evaluation, options, monitor).run(saved);
}

}  // namespace hpm
