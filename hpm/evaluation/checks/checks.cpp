#include "hpm/evaluation/checks/checks.h"

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/evaluation/checks/attacking_checks_impl.h"
#include "hpm/evaluation/checks/gradient_fidelity.h"
#include "hpm/evaluation/checks/gradient_probe.h"

namespace hpm {
namespace {

using Status = CheckOutcome::Status;

constexpr double kLargestStep = 2. / 255;  // of the check gradient fidelity, in units of the input range

class Checks {
 public:
  explicit Checks(const CheckView& view) : view_(view), finds_(view), attacks_(view) {}

  /// An exactly zero gradient at a random start, in the attacks' own losses, tells an attack nothing. An image that the
  /// target or the surrogate has wrong there needs none (and DLR is constant where the true class ranks third). Judged
  /// by the surrogate that has most: what blinds one of the attacks is not excused by another one.
  CheckOutcome zero_gradients() {
    if (!view_.has_gradients()) return view_.without_gradients("zero gradients");
    const auto x = apgd_start(view_.sample, view_.threat, view_.streams, {"check start"}).x;
    std::vector<std::string> each;
    auto at_start = view_.sample;
    at_start.x = x;
    const auto share = [&](LossKind kind) {
      double most = 0;
      std::vector<std::string> alone;
      for (const auto& [name, view] : view_.surrogates) {
        const auto blind = percent(blind_rows(*view, at_start, kind));
        most = std::max(most, blind);
        alone.push_back(fmt::format("{} {:.1f} %", name, blind));
      }
      each.push_back(fmt::format("{}: {}", to_string(kind), fmt::join(alone, ", ")));
      return most;
    };
    const double ce = share(LossKind::ce), dlr = view_.subject.attacked.classes() < 3 ? 0 : share(LossKind::dlr);
    auto check =
        judged("zero gradients", std::max(ce, dlr), 5, "%",
               fmt::format("of {} images {:.1f} % have a gradient of exactly zero in the cross-entropy, {:.1f} % in "
                           "the difference of logits ratio{}",
                           view_.sample.size(), ce, dlr,
                           view_.surrogates.size() > 1
                               ? fmt::format(", of the surrogate that has most ({})", fmt::join(each, "; "))
                               : ""));
    // Logits so large that the softmax has no gradient leave that of their ratios.
    check.cause = dlr < ce / 2 ? Cause::scale : Cause::zero;
    return check;
  }

  CheckOutcome finite() {
    const Loss loss{LossKind::ce, view_.sample.y, {}};
    int64_t bad = view_.first() ? view_.evaluation.not_finite : 0;
    const auto count = [&](const Tensor& t) {
      if (t.defined()) bad += t.isfinite().logical_not().sum().item<int64_t>();
    };
    for (const auto& [name, view] : view_.surrogates) {
      const auto answer = view->ask({view_.sample.x, view_.sample.index}, view_.has_gradients() ? &loss : nullptr);
      count(answer.target_logits), count(answer.loss), count(answer.gradient);
    }
    if (view_.outcome().adversarial.defined())
      for_chunks(view_.outcome().adversarial.set(), view_.options.batch_size,
                 [&](const Images& part, int64_t) { count(part.x); });
    return judged("NaN or infinite", static_cast<double>(bad), 0, "values",
                  fmt::format("{} in the logits{} of {} images, and in all adversarial images{}", bad,
                              view_.has_gradients() ? ", losses and gradients" : "", view_.sample.size(),
                              view_.first() ? " and their logits" : ""));
  }

  CheckOutcome ball_and_box() {
    if (!view_.outcome().adversarial.defined()) return CheckView::not_run("ball and box", "no adversarial images");
    const double allowed = allowed_norm(view_.threat, static_cast<int64_t>(view_.dims()));
    double largest = 0, low = 1, high = 0;
    for_chunks(view_.outcome().adversarial.set(), view_.options.batch_size, [&](const Images& part, int64_t begin) {
      const auto x = part.x.to(at::kDouble);
      const auto delta = x - view_.images.slice(begin, begin + part.size()).x;
      largest = std::max(largest, norm_of_rows(delta, view_.threat.norm).max().item<double>());
      low = std::min(low, x.min().item<double>()), high = std::max(high, x.max().item<double>());
    });
    const bool outside = largest > allowed || low < 0 || high > 1;
    const auto status = view_.options.conformance ? Status::reported : outside ? Status::failed : Status::passed;
    return {"ball and box",
            status,
            largest,
            allowed,
            "norm",
            fmt::format("largest {} norm {:.7g} for eps {:.7g}; values in [{:.3g}, {:.3g}]",
                        to_string(view_.threat.norm), largest, view_.threat.eps, low, high)};
  }

  CheckOutcome determinism() {
    const auto once = view_.subject.predict(view_.sample.x, view_.sample.index),
               again = view_.subject.predict(view_.sample.x, view_.sample.index);
    // A few images may keep their predictions by chance: logits tell of random numbers too.
    const auto moved = (once - again).abs().amax(1).gt(1e-2 * (once.amax(1) - once.amin(1)));
    const auto changed = static_cast<double>((once.argmax(1).ne(again.argmax(1)) | moved).sum().item<int64_t>());
    if (view_.subject.attacked.random())
      return {"determinism", Status::reported, changed, {}, "images", "the model is declared random"};
    return showing(Cause::random,
                   judged("determinism", changed, 0, "images",
                          fmt::format("{} of {} predictions differ when repeated", changed, view_.sample.size())));
  }

  /// Permuted, split, duplicated and padded batches must not change a prediction, nor its logits by more than rounding:
  /// a defence that makes its own answer surer changes those alone.
  CheckOutcome consistency() {
    const int64_t n = view_.sample.size();
    const auto logits = view_.subject.predict(view_.sample.x, view_.sample.index).to(at::kCPU),
               expected = logits.argmax(1);
    const auto allowed = 1e-2 * (logits.amax(1) - logits.amin(1));
    auto changed = at::zeros({n}, at::kBool);
    const auto compare = [&](const Tensor& rows) {
      const auto part = view_.sample.select(rows);
      const auto seen = view_.subject.predict(part.x, part.index).to(at::kCPU);
      auto other = seen.argmax(1).ne(expected.index_select(0, rows));
      if (!view_.subject.votes)
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
    if (view_.subject.batch_dependent || view_.subject.attacked.random())
      return {"consistency", Status::reported, static_cast<double>(count), {}, "images", detail + " (expected here)"};
    return showing(Cause::batch, judged("consistency", static_cast<double>(count), 0, "images", detail));
  }

  CheckOutcome reload() {
    const auto& saved = view_.subject.saved;
    if (!saved) return CheckView::not_run("reload", "adversarial images were not saved (--save-adversarial)");
    int64_t differing = 0;
    const auto adversarial = view_.outcome().adversarial.set();
    for_chunks(*saved, view_.options.batch_size, [&](const Images& chunk, int64_t begin) {
      const auto before =
          view_.subject.predict(adversarial.slice(begin, begin + chunk.size()).x, chunk.index).argmax(1);
      differing += before.ne(view_.subject.predict(chunk.x, chunk.index).argmax(1)).sum().item<int64_t>();
    });
    return judged("reload", static_cast<double>(differing), 0, "images",
                  fmt::format("{} predictions differ on the images read back", differing));
  }

  CheckOutcome transfer() {
    if (!finds_.attacked_by(SurrogateKind::transfer))
      return CheckView::not_run("transfer", "no transfer surrogate ran (msa with --base or --control)");
    const auto first = view_.points(finds_.of_kind(SurrogateKind::transfer));
    return showing(Cause::masked, judged("transfer", first, .5, "points",
                                         fmt::format("transfer broke {:.1f} points beyond white-box", first)));
  }

  /// Whether the gradient that the attacks followed is the prediction's.
  CheckOutcome fidelity() {
    const std::string name = "gradient fidelity";
    const auto not_run = [&](const char* why) { return CheckOutcome{name, Status::not_run, {}, {}, "", why}; };
    if (!view_.has_gradients()) return view_.without_gradients(name);
    if (!view_.subject.exact) return not_run("the gradients are those of stand-ins, not the prediction's own");
    if (view_.coupled || view_.subject.attacked.random())
      return not_run("it looks at single images of a deterministic model");
    const auto found = gradient_fidelity(view_.subject.attacked, view_.sample, kLargestStep);
    if (found.images == 0) return not_run("no image of the sample is right and has a gradient");
    const auto share = 100. * static_cast<double>(found.wrong()) / static_cast<double>(found.images);
    auto check = judged(
        name, share, 10, "%",
        fmt::format("of {} images, a small step along the gradient changes the margin otherwise than the gradient says "
                    "for {} (jumps or steps {}, no change {}, another slope {}); median ratio {:.2g}",
                    found.images, found.wrong(), found.shattered, found.flat, found.other, found.median_ratio));
    check.cause = found.other > found.shattered + found.flat ? Cause::other_gradient : Cause::shattered;
    if (check.status == Status::failed && view_.subject.stand_ins) {
      check.status = Status::reported;
      check.detail += "; stand-ins attacked too";
    }
    return check;
  }

  /// The lines of one context.
  std::vector<CheckOutcome> run() {
    std::vector<CheckOutcome> all{attacks_.unbounded(), zero_gradients(), fidelity(),   finite(),
                                  ball_and_box(),       determinism(),    consistency()};
    if (view_.first()) all.push_back(reload());
    all.push_back(transfer());
    if (view_.options.level == "full") all.push_back(attacks_.convergence());
    if (view_.options.level == "full" || finds_.own_square()) all.push_back(attacks_.square_after_white_box());
    else all.push_back(attacks_.square_on_a_sample());
    if (!finds_.own_fab()) all.push_back(attacks_.fab_on_a_sample());
    for (auto& check : all) {
      check.context = view_.outcome().context;
      if (check.status != Status::failed) check.cause = Cause::none;
    }
    return all;
  }

 private:
  const CheckView& view_;
  FirstFinds finds_;
  AttackingChecks attacks_;
};

}  // namespace

void fields(Fields& f, CheckOptions& o) {
  f.add("checks", o.level, "checks of the evaluation", {.choices = {"none", "basic", "full"}});
}

std::vector<CheckOutcome> run_checks(const CheckSubject& subject, const AttackedImages& on,
                                     const Evaluation& evaluation, const CheckOptions& options, const Work& work) {
  require(options.level == "none" || options.level == "basic" || options.level == "full",
          "checks: needs none, basic or full, but got \"{}\"", options.level);
  if (options.level == "none") return {};
  const CheckView view(subject, on, evaluation, options, work);
  return Checks(view).run();
}

Passes check_passes(const CheckOptions& options, int64_t n, int64_t surrogates) {
  if (options.level == "none") return {};
  const auto sample = std::min(options.sample, n);
  const Passes prediction{1, 0}, look{1, 1};
  // Finite: one pass of each surrogate. Determinism and consistency: eight predictions at most.
  auto total = prediction * (sample * (surrogates + 8));
  if (!options.gradients || !options.differentiable) {
    if (options.level == "full") total += (budget_of(AttackingChecks::final_square()).passes + prediction) * n;
    return total;
  }
  // Every attack passes over the originals first. Zero gradients: two losses, each with the surrogate's prediction.
  const auto unbounded = budget_of(AttackingChecks::unbounded_attack()).passes + prediction,
             zero_gradients = (prediction + look) * 2;
  total += (unbounded + zero_gradients + Passes{0, 1}) * (sample * surrogates);
  total += gradient_fidelity_passes() * sample;
  total += (budget_of(AttackingChecks::sampled_square()).passes + prediction * 2) * AttackingChecks::sampled(n);
  total += (budget_of(AttackingChecks::sampled_fab()).passes + prediction * 2) * AttackingChecks::sampled(n);
  if (options.level == "full") {
    total += (budget_of(AttackingChecks::convergence_attack()).passes + prediction) * (n * surrogates);
    total += (budget_of(AttackingChecks::final_square()).passes + prediction) * n;
  }
  return total;
}

}  // namespace hpm
