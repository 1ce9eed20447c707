#include "hpm/evaluation/checks.h"

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/finite_answers.h"
#include "hpm/attacks/square.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/gradient_fidelity.h"
#include "hpm/evaluation/gradient_probe.h"

namespace hpm {
namespace {

using Status = CheckOutcome::Status;

constexpr double kLargestStep = 2. / 255;  // of the check gradient fidelity, in units of the input range

CheckOutcome judged(const std::string& name, double value, double limit, const std::string& unit,
                    const std::string& detail) {
  return {name, value > limit ? Status::failed : Status::passed, value, limit, unit, detail};
}

class Checks {
 public:
  Checks(CheckSubject& subject, const ImageSet& images, const ThreatModel& threat, const Evaluation& evaluation,
         const CheckOptions& options, Monitor& monitor, const WorkLog& log)
      : subject_(subject),
        images_(images),
        threat_(threat),
        evaluation_(evaluation),
        options_(options),
        monitor_(monitor),
        log_(log),
        streams_(options.seed ^ 0xc4ec75ull),
        coupled_(subject.attacked.coupling() == Coupling::batch),
        views_{{subject.name, &subject.attacked}} {
    views_.insert(views_.end(), subject.others.begin(), subject.others.end());
    const auto count = std::min(options.sample, images.size());
    sample_ = images.slice(0, count);
  }

  /// With the whole box allowed, an attack that sees the gradient breaks everything.
  CheckOutcome unbounded() {
    if (!has_gradients()) return without_gradients("unbounded");
    const double eps = threat_.norm == Norm::linf ? 1. : threat_.norm == Norm::l2 ? std::sqrt(dims()) : dims();
    auto left = at::arange(sample_.size());
    for (const auto& [name, view] : views_) {
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

  /// An exactly zero gradient at a random start, in the attacks' own losses, tells an attack nothing. An image that the
  /// target or the surrogate has wrong there needs none (and DLR is constant where the true class ranks third). Judged
  /// by the surrogate that has most: what blinds one of the attacks is not excused by another one.
  CheckOutcome zero_gradients() {
    if (!has_gradients()) return without_gradients("zero gradients");
    const auto x = apgd_start(sample_, threat_, streams_, {"check start"}).x;
    std::vector<std::string> each;
    auto at_start = sample_;
    at_start.x = x;
    const auto share = [&](LossKind kind) {
      double most = 0;
      std::vector<std::string> alone;
      for (const auto& [name, view] : views_) {
        const auto blind = percent(blind_rows(*view, at_start, kind));
        most = std::max(most, blind);
        alone.push_back(fmt::format("{} {:.1f} %", name, blind));
      }
      each.push_back(fmt::format("{}: {}", to_string(kind), fmt::join(alone, ", ")));
      return most;
    };
    const double ce = share(LossKind::ce), dlr = subject_.attacked.classes() < 3 ? 0 : share(LossKind::dlr);
    auto check = judged(
        "zero gradients", std::max(ce, dlr), 5, "%",
        fmt::format(
            "of {} images {:.1f} % have a gradient of exactly zero in the cross-entropy, {:.1f} % in "
            "the difference of logits ratio{}",
            sample_.size(), ce, dlr,
            views_.size() > 1 ? fmt::format(", of the surrogate that has most ({})", fmt::join(each, "; ")) : ""));
    // Logits so large that the softmax has no gradient leave that of their ratios.
    check.cause = dlr < ce / 2 ? Cause::scale : Cause::zero;
    return check;
  }

  CheckOutcome finite() {
    const Loss loss{LossKind::ce, sample_.y, {}};
    int64_t bad = first() ? evaluation_.not_finite : 0;
    const auto count = [&](const Tensor& t) {
      if (t.defined()) bad += t.isfinite().logical_not().sum().item<int64_t>();
    };
    for (const auto& [name, view] : views_) {
      const auto answer = view->ask({sample_.x, sample_.index}, has_gradients() ? &loss : nullptr);
      count(answer.target_logits), count(answer.loss), count(answer.gradient);
    }
    if (outcome().adversarial.defined())
      for_chunks(outcome().adversarial.set(), options_.batch_size, [&](const Images& part, int64_t) { count(part.x); });
    return judged("NaN or infinite", static_cast<double>(bad), 0, "values",
                  fmt::format("{} in the logits{} of {} images, and in all adversarial images{}", bad,
                              has_gradients() ? ", losses and gradients" : "", sample_.size(),
                              first() ? " and their logits" : ""));
  }

  CheckOutcome ball_and_box() {
    if (!outcome().adversarial.defined()) return {"ball and box", Status::not_run, {}, {}, "", "no adversarial images"};
    const double allowed = allowed_norm(threat_, static_cast<int64_t>(dims()));
    double largest = 0, low = 1, high = 0;
    for_chunks(outcome().adversarial.set(), options_.batch_size, [&](const Images& part, int64_t begin) {
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

  /// Permuted, split, duplicated and padded batches must not change a prediction, nor its logits by more than rounding:
  /// a defence that makes its own answer surer changes those alone.
  CheckOutcome consistency() {
    const int64_t n = sample_.size();
    const auto logits = subject_.predict(sample_.x, sample_.index).to(at::kCPU), expected = logits.argmax(1);
    const auto allowed = 1e-2 * (logits.amax(1) - logits.amin(1));
    auto changed = at::zeros({n}, at::kBool);
    const auto compare = [&](const Tensor& rows) {
      const auto part = sample_.select(rows);
      const auto seen = subject_.predict(part.x, part.index).to(at::kCPU);
      auto other = seen.argmax(1).ne(expected.index_select(0, rows));
      if (!subject_.votes)
        other = other | (seen - logits.index_select(0, rows)).abs().amax(1).gt(allowed.index_select(0, rows));
      const auto differs = other.nonzero().squeeze(1);
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
    const auto adversarial = outcome().adversarial.set();
    for_chunks(*saved, options_.batch_size, [&](const Images& chunk, int64_t begin) {
      const auto before = subject_.predict(adversarial.slice(begin, begin + chunk.size()).x, chunk.index).argmax(1);
      differing += before.ne(subject_.predict(chunk.x, chunk.index).argmax(1)).sum().item<int64_t>();
    });
    return judged("reload", static_cast<double>(differing), 0, "images",
                  fmt::format("{} predictions differ on the images read back", differing));
  }

  /// Four times the iterations should find little more.
  CheckOutcome convergence() {
    if (!has_gradients()) return without_gradients("convergence");
    std::vector<AttackModel*> all;
    for (const auto& [name, view] : views_) all.push_back(view);
    const auto [broken, survivors] =
        survivors_broken_by("convergence", all, [&](AttackModel& view, const Images& part) {
          return apgd(view, part, threat_, {.steps = 200, .stream = "check convergence"}, streams_, monitor_).broken;
        });
    const auto share = survivors ? 100. * static_cast<double>(broken) / static_cast<double>(survivors) : 0.;
    return judged("convergence", share, 1, "% of the survivors",
                  fmt::format("APGD-CE with 200 iterations broke {} of {} survivors", broken, survivors));
  }

  /// What Square broke of what the white-box attacks had left: the evaluation's own, in the level full a thousand
  /// queries more.
  CheckOutcome query_after_white_box() {
    const auto own = broken_by_square();
    if (options_.level != "full")
      return judged("Square after white-box", points(own), .2, "points",
                    fmt::format("the evaluation's Square broke {} of {} images", own, images_.size()));
    const auto [broken, survivors] = survivors_broken_by(
        "Square after white-box", {&subject_.attacked}, [&](AttackModel& model, const Images& part) {
          return square(model, part, threat_, {.queries = 1000, .stream = "check square"}, streams_, monitor_).broken;
        });
    return judged(
        "Square after white-box", points(own + broken), .2, "points",
        fmt::format("the evaluation's Square broke {}, then 1000 queries {} of {} survivors", own, broken, survivors));
  }

  CheckOutcome transfer() {
    if (!attacked_by(SurrogateKind::transfer))
      return {"transfer", Status::not_run, {}, {}, "", "no transfer surrogate ran (msa with --base or --control)"};
    const auto first = points(first_broken_by(SurrogateKind::transfer));
    return judged("transfer", first, .5, "points", fmt::format("transfer broke {:.1f} points beyond white-box", first));
  }

  /// Whether the gradient that the attacks followed is the prediction's.
  CheckOutcome fidelity() {
    const std::string name = "gradient fidelity";
    const auto not_run = [&](const char* why) { return CheckOutcome{name, Status::not_run, {}, {}, "", why}; };
    if (!has_gradients()) return without_gradients(name);
    if (!subject_.exact) return not_run("the gradients are those of stand-ins, not the prediction's own");
    if (coupled_ || subject_.attacked.random()) return not_run("it looks at single images of a deterministic model");
    const auto found = gradient_fidelity(subject_.attacked, sample_, kLargestStep);
    if (found.images == 0) return not_run("no image of the sample is right and has a gradient");
    const auto share = 100. * static_cast<double>(found.wrong()) / static_cast<double>(found.images);
    auto check = judged(
        name, share, 10, "%",
        fmt::format("of {} images, a small step along the gradient changes the margin otherwise than the gradient says "
                    "for {} (jumps or steps {}, no change {}, another slope {}); median ratio {:.2g}",
                    found.images, found.wrong(), found.shattered, found.flat, found.other, found.median_ratio));
    check.cause = found.other > found.shattered + found.flat ? Cause::other_gradient : Cause::shattered;
    if (check.status == Status::failed && subject_.stand_ins) {
      check.status = Status::reported;
      check.detail += "; stand-ins attacked too";
    }
    return check;
  }

  /// A few queries on a few survivors: what breaks here hides from the gradient, wherever it comes from.
  CheckOutcome sampled_queries() {
    const std::string name = "Square on a sample";
    if (!options_.gradients || coupled_ || threat_.eps == 0)
      return {name, Status::not_run, {}, {}, "", "it follows attacks by gradient on single images"};
    const auto survivors = outcome().robust.nonzero().squeeze(1);
    const auto count = std::min(survivors.numel(), std::clamp<int64_t>(survivors.numel() / 8, 8, 32));
    if (count == 0) return {name, Status::not_run, {}, {}, "", "no image survived"};
    // Evenly spread, so that images sorted by class are sampled fairly.
    const auto rows = survivors.index_select(0, at::arange(count).mul(survivors.numel()).floor_divide(count));
    const auto done = log_.once(fmt::format("check/{}/{}", outcome().context, name), rows, [&]() -> NamedTensors {
      const auto found = square(subject_.attacked, images_.select(rows), threat_,
                                {.queries = 500, .stream = "check sample"}, streams_, monitor_);
      const auto again =
          subject_.predict(found.images, images_.index.index_select(0, rows)).argmax(1).ne(images_.select(rows).y);
      return {{"broken", (found.broken & again).sum().to(at::kCPU)}};
    });
    const auto broken = find_tensor(done, "broken").item<int64_t>();
    return judged(name, static_cast<double>(broken), 1, "images",
                  fmt::format("500 queries broke {} of {} survivors", broken, count));
  }

  /// The lines of one context.
  std::vector<CheckOutcome> run(const std::optional<ImageSet>& saved) {
    std::vector<CheckOutcome> all{attacked("unbounded", &Checks::unbounded),
                                  zero_gradients(),
                                  fidelity(),
                                  finite(),
                                  ball_and_box(),
                                  determinism(),
                                  consistency()};
    if (first()) all.push_back(reload(saved));
    all.push_back(transfer());
    if (options_.level == "full") all.push_back(attacked("convergence", &Checks::convergence));
    if (options_.level == "full" || own_square())
      all.push_back(attacked("Square after white-box", &Checks::query_after_white_box));
    else all.push_back(attacked("Square on a sample", &Checks::sampled_queries));
    for (auto& check : all) {
      check.context = outcome().context;
      if (check.status != Status::failed) check.cause = Cause::none;
      else if (check.cause == Cause::none) check.cause = cause_of(check);
    }
    return all;
  }

 private:
  /// What a failed check tells of the kind of masking.
  static Cause cause_of(const CheckOutcome& check) {
    if (check.name == "determinism") return Cause::random;
    if (check.name == "consistency") return Cause::batch;
    for (const char* name : {"unbounded", "transfer", "convergence", "Square after white-box", "Square on a sample"})
      if (check.name == name) return Cause::masked;
    return Cause::none;
  }

  /// A check that attacks. It fails where the model's answers are not finite: no attack can judge it.
  CheckOutcome attacked(const std::string& name, CheckOutcome (Checks::*check)()) {
    try {
      return (this->*check)();
    } catch (const NotFinite& error) {
      return {name, Status::failed, {}, {}, "", error.what()};
    }
  }

  bool has_gradients() const { return options_.gradients && options_.differentiable; }
  CheckOutcome without_gradients(const std::string& name) const {
    const char* why = options_.differentiable ? "the attacks asked for no gradient" : "the model has no gradient";
    return {name, Status::not_run, {}, {}, "", why};
  }

  const ContextOutcome& outcome() const { return evaluation_.contexts.at(subject_.context); }
  bool first() const { return subject_.context == 0; }
  double points(int64_t images) const {
    return 100. * static_cast<double>(images) / static_cast<double>(images_.size());
  }

  /// Images of this context that surrogates of a kind broke first, whichever context they attacked, and that the
  /// leading surrogate did not break here. In joint, where batches are attacked whole: by how many more images were
  /// wrong, and the finds of other contexts that are part of a composition.
  int64_t first_broken_by(SurrogateKind kind) const {
    int64_t count = 0;
    if (coupled_) {
      for (const auto& surrogate : outcome().surrogates) count += surrogate.kind == kind ? surrogate.first : 0;
      for (const auto& by : outcome().broken_by)
        count += by && by.kind == kind && (by.composed || by.target != outcome().context);
      return count;
    }
    const auto led = broken_by_leading();
    for (size_t i = 0; i < outcome().broken_by.size(); ++i) {
      const auto& by = outcome().broken_by[i];
      count += by && by.kind == kind && !led[static_cast<int64_t>(i)].item<bool>();
    }
    return count;
  }

  /// [n] bool: broken in this context by the surrogate that leads.
  Tensor broken_by_leading() const {
    auto broken = at::zeros({images_.size()}, at::kBool);
    for (const auto& surrogate : outcome().surrogates)
      for (const auto& attack : evaluation_.attacks)
        if (surrogate.leads && attack.surrogate == surrogate.name && attack.context == outcome().context &&
            attack.matrix.defined())
          broken = broken | attack.matrix.eq(2);
    return broken;
  }

  static bool ran(const SurrogateOutcome& surrogate) { return surrogate.unavailable.empty(); }

  /// Whether a surrogate of this kind attacked this context.
  bool attacked_by(SurrogateKind kind) const {
    const auto& all = outcome().surrogates;
    return std::any_of(all.begin(), all.end(), [&](const auto& s) { return s.kind == kind && ran(s); });
  }

  /// Whether the evaluation had a Square of its own, after attacks with gradients.
  bool own_square() const {
    if (!options_.gradients) return false;
    if (!outcome().surrogates.empty()) return attacked_by(SurrogateKind::query);
    return std::any_of(evaluation_.attacks.begin(), evaluation_.attacks.end(), [&](const auto& attack) {
      return asks_by_queries(attack) && attack.context == outcome().context;
    });
  }

  static bool asks_by_queries(const AttackRecord& attack) {
    const auto& table = attack_table();
    return std::any_of(table.begin(), table.end(),
                       [&](const auto& entry) { return entry.name == attack.name && entry.queries; });
  }

  /// Images that the evaluation's own Square broke first, in this context.
  int64_t broken_by_square() const {
    if (!outcome().surrogates.empty()) return first_broken_by(SurrogateKind::query);
    int64_t first = 0;
    Tensor before;  // after the attacks before it
    for (const auto& attack : evaluation_.attacks) {
      if (attack.context != outcome().context) continue;
      if (asks_by_queries(attack) && before.defined())
        first += (before & attack.robust.logical_not()).sum().item<int64_t>();
      before = attack.robust;
    }
    return first;
  }

  /// How many of the survivors `attack(model, images) -> [N] bool` breaks with any of `models`, and how many there are.
  /// In joint batches are attacked whole, and what counts is how many fewer are right in the worst one found.
  template <class Attack>
  std::pair<int64_t, int64_t> survivors_broken_by(const std::string& name, const std::vector<AttackModel*>& models,
                                                  Attack attack) {
    const auto robust = outcome().robust;
    const auto survivors = robust.nonzero().squeeze(1);
    int64_t broken = 0, seen = 0;
    monitor_.begin("check: " + name, survivors.numel(), "images");
    const auto look = [&](const Tensor& rows, auto count) {
      const auto key = fmt::format("check/{}/{}/{}", outcome().context, name, seen);
      const auto done = log_.once(key, rows, [&]() -> NamedTensors {
        const auto part = images_.select(rows);
        std::vector<Tensor> wrong;
        for (auto* model : models) wrong.push_back(attack(*model, part).to(at::kCPU));
        return {{"broken", count(at::stack(wrong))}};
      });
      broken += find_tensor(done, "broken").template item<int64_t>();
      seen += rows.numel();
      monitor_.step(std::min(seen, survivors.numel()), fmt::format("{} broken", broken));
    };
    if (coupled_) {
      for (const auto& rows : subject_.batches)
        look(rows, [&](const Tensor& wrong) {
          const auto right_before = robust.index_select(0, rows).sum(), right_now = wrong.logical_not().sum(1).min();
          return at::relu(right_before - right_now);
        });
    } else {
      for (int64_t begin = 0; begin < survivors.numel(); begin += options_.batch_size)
        look(survivors.slice(0, begin, begin + options_.batch_size),
             [](const Tensor& wrong) { return wrong.any(0).sum(); });
    }
    monitor_.end();
    return {broken, survivors.numel()};
  }

  double dims() const { return static_cast<double>(c10::multiply_integers(images_.shape())); }

  CheckSubject& subject_;
  const ImageSet& images_;
  const ThreatModel& threat_;
  const Evaluation& evaluation_;
  const CheckOptions& options_;
  Monitor& monitor_;
  const WorkLog& log_;
  RandomStreams streams_;
  bool coupled_;
  std::vector<std::pair<std::string, AttackModel*>> views_;  // surrogates by name
  Images sample_;
};

}  // namespace

std::vector<CheckOutcome> run_checks(CheckSubject subject, const ImageSet& images, const ThreatModel& threat,
                                     const Evaluation& evaluation, const std::optional<ImageSet>& saved,
                                     const CheckOptions& options, Monitor& monitor, const WorkLog& log) {
  require(options.level == "none" || options.level == "basic" || options.level == "full",
          "checks: needs none, basic or full, but got \"{}\"", options.level);
  if (options.level == "none") return {};
  return Checks(subject, images, threat, evaluation, options, monitor, log).run(saved);
}

Passes check_passes(const CheckOptions& options, int64_t n, int64_t surrogates) {
  if (options.level == "none") return {};
  const auto sample = std::min(options.sample, n),
             gradients = options.gradients && options.differentiable ? surrogates : 0;
  // Unbounded: 50 steps and the start, after a clean pass; zero gradients: two losses, each with the surrogate's
  // prediction; finite: one pass. Determinism and consistency: eight predictions at most. Fidelity: eight, one with a
  // gradient.
  Passes total{sample * (57 * gradients + surrogates + 8), sample * 54 * gradients};
  if (gradients > 0) {
    total.forward += sample * 8 + std::min<int64_t>(n, std::clamp<int64_t>(n / 8, 8, 32)) * 503;  // Square on a sample
    total.backward += sample;
  }
  if (options.level == "full") {
    total.forward += n * (202 * gradients + 1002);  // convergence, Square
    total.backward += n * 201 * gradients;
  }
  return total;
}

}  // namespace hpm
