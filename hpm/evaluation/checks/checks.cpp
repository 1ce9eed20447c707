#include "hpm/evaluation/checks/checks.h"

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/evaluation/checks/attacking_checks_impl.h"
#include "hpm/evaluation/checks/gradient_fidelity.h"
#include "hpm/evaluation/checks/gradient_probe.h"
#include "hpm/evaluation/checks/prediction_checks_impl.h"

namespace hpm {
namespace {

using Status = CheckOutcome::Status;

constexpr double kLargestStep = 2. / 255;  // of the check gradient fidelity, in units of the input range
constexpr double kBlind = 5;               // percent of the images that may have no gradient

class Checks {
 public:
  explicit Checks(const CheckView& view)
      : view_(view),
        finds_(view),
        attacks_(view),
        predictions_(view),
        start_(apgd_start(view.sample, view.threat, view.streams, {"check start"}).x) {}

  /// An exactly zero gradient at a random start, in the attacks' own losses, tells an attack nothing. An image that the
  /// target or the surrogate has wrong there needs none (and DLR is constant where the true class ranks third). Judged
  /// by the surrogate that has most: what blinds one of the attacks is not excused by another one, but for a stand-in
  /// that has a gradient and broke what the model's own had left.
  CheckOutcome zero_gradients() {
    if (!view_.has_gradients()) return view_.without_gradients("zero gradients");
    auto at_start = view_.sample;
    at_start.x = start_;
    double ce = 0, dlr = 0;
    bool seen_by_stand_in = false;
    AttackModel* blindest = view_.surrogates.front().model;
    std::vector<std::string> each;
    for (const auto& [name, model, stand_in] : view_.surrogates) {
      const auto in_ce = percent(blind_rows(*model, at_start, LossKind::ce));
      const auto in_dlr = model->classes() < 3 ? 0 : percent(blind_rows(*model, at_start, LossKind::dlr));
      each.push_back(fmt::format("{} {:.1f} % and {:.1f} %", name, in_ce, in_dlr));
      if (stand_in && std::max(in_ce, in_dlr) <= kBlind) seen_by_stand_in = true;
      if (stand_in && name != view_.surrogates.front().name) continue;
      if (std::max(in_ce, in_dlr) > std::max(ce, dlr)) blindest = model;
      ce = std::max(ce, in_ce), dlr = std::max(dlr, in_dlr);
    }
    auto check =
        judged("zero gradients", std::max(ce, dlr), kBlind, "%",
               fmt::format("of {} images {:.1f} % have a gradient of exactly zero in the cross-entropy, {:.1f} % in "
                           "the difference of logits ratio{}",
                           view_.sample.size(), ce, dlr,
                           view_.surrogates.size() > 1
                               ? fmt::format(", of the surrogate that has most ({})", fmt::join(each, "; "))
                               : ""));
    if (check.status != Status::failed) return check;
    // Logits so large that the softmax has no gradient leave that of their differences.
    check.cause = percent(blind_rows_of_margin(*blindest, at_start)) < ce / 2 ? Cause::scale : Cause::zero;
    return excused(std::move(check), seen_by_stand_in);
  }

  /// A gradient that is true of the point alone: the margin must grow by a step of a quarter of the radius.
  CheckOutcome still_loss() {
    const std::string name = "loss that does not move";
    if (const auto why = blind_to_one_image(); !why.empty()) return CheckView::not_run(name, why);
    if (view_.evaluation.fast && !view_.evaluation.fast->stages.empty())
      return CheckView::not_run(name, "the alarm of this name looks for it");
    const auto right = clean_rows_that_are_right();
    if (right.size() == 0) return CheckView::not_run(name, "no image of the sample is right");
    auto at_start = right;
    at_start.x = apgd_start(right, view_.threat, view_.streams, {"check start"}).x;
    const auto still = still_rows(view_.subject.attacked, right, at_start.x, view_.threat);
    auto check = judged(name, percent(still), 10, "%",
                        fmt::format("a step of eps / 4 along its gradient did not raise the margin of {} of {} images",
                                    still.sum().item<int64_t>(), right.size()));
    if (check.status != Status::failed) return check;
    const bool none_at_all = percent(blind_rows_of_margin(view_.subject.attacked, at_start)) > *check.value / 2;
    check.cause = none_at_all ? Cause::zero : Cause::shattered;
    return excused(std::move(check), true);
  }

  CheckOutcome finite() {
    const Loss loss{LossKind::ce, view_.sample.y, {}};
    int64_t bad = view_.first() ? view_.evaluation.not_finite : 0;
    const auto count = [&](const Tensor& t) {
      if (t.defined()) bad += t.isfinite().logical_not().sum().item<int64_t>();
    };
    for (const auto& [name, model, stand_in] : view_.surrogates) {
      const auto answer = model->ask({view_.sample.x, view_.sample.index}, view_.has_gradients() ? &loss : nullptr);
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

  /// Whether the gradient that the attacks followed is the prediction's: at the images and at a random start.
  CheckOutcome fidelity() {
    const std::string name = "gradient fidelity";
    if (const auto why = blind_to_one_image(); !why.empty()) return CheckView::not_run(name, why);
    auto at_start = view_.sample;
    at_start.x = start_;
    auto found = gradient_fidelity(view_.subject.attacked, view_.sample, kLargestStep);
    const auto beside = gradient_fidelity(view_.subject.attacked, at_start, kLargestStep);
    if (found.images == 0 && beside.images == 0)
      return CheckView::not_run(name, "no image of the sample is right and has a gradient");
    const bool worse = beside.share_wrong() > found.share_wrong();
    if (worse) found = beside;
    auto check =
        judged(name, found.share_wrong(), 10, "%",
               fmt::format("of {} images{}, a small step along the gradient changes the margin otherwise than the "
                           "gradient says for {} (jumps or steps {}, no change {}, another slope {}); median ratio "
                           "{:.2g}",
                           found.images, worse ? " at a random start" : "", found.wrong(), found.shattered, found.flat,
                           found.other, found.median_ratio));
    check.cause = found.other > found.shattered + found.flat ? Cause::other_gradient : Cause::shattered;
    return excused(std::move(check), true);
  }

  /// The lines of one context.
  std::vector<CheckOutcome> run() {
    auto unbounded = attacks_.unbounded();
    const auto determinism = predictions_.determinism();
    // What draws random numbers, or looks at its batch, answers otherwise for that reason alone.
    const auto consistency = determinism.status == Status::failed
                                 ? CheckView::not_run("consistency", "predictions differ when repeated")
                                 : predictions_.consistency(unbounded.images);
    of_one_image_ = determinism.status != Status::failed && consistency.status != Status::failed;
    std::vector<CheckOutcome> all{unbounded.check, zero_gradients(), fidelity(),  still_loss(),
                                  finite(),        ball_and_box(),   determinism, consistency};
    if (view_.first()) all.push_back(reload());
    all.push_back(transfer());
    if (view_.options.level == "full") all.push_back(attacks_.convergence());
    if (view_.options.level == "full" || finds_.own_square()) all.push_back(attacks_.square_after_white_box());
    else all.push_back(attacks_.square_on_a_sample());
    if (!finds_.own_fab()) all.push_back(attacks_.fab_on_a_sample());
    name_the_optimiser(all);
    for (auto& check : all) {
      check.context = view_.outcome().context;
      if (check.status != Status::failed) check.cause = Cause::none;
    }
    return all;
  }

 private:
  /// A failure is reported only, where other gradients than the model's own broke what it had left.
  CheckOutcome excused(CheckOutcome check, bool excusable) const {
    if (check.status != Status::failed || !excusable || !view_.subject.stand_ins_help) return check;
    check.status = Status::reported;
    check.detail += "; stand-ins broke what it had left";
    return check;
  }

  /// Why a check cannot look at the gradient of the prediction of one image; empty: it can.
  std::string blind_to_one_image() const {
    if (!view_.has_gradients()) return view_.without_gradients("").detail;
    if (!view_.subject.exact) return "the gradients are those of stand-ins, not the prediction's own";
    if (view_.coupled || view_.subject.attacked.random() || !of_one_image_)
      return "it looks at single images of a deterministic model";
    return view_.threat.eps == 0 ? "the radius is 0" : "";
  }

  Images clean_rows_that_are_right() const {
    const auto logits = view_.subject.attacked.ask({view_.sample.x, view_.sample.index}, nullptr).target_logits;
    return view_.sample.select(logits.argmax(1).eq(view_.sample.y).nonzero().squeeze(1).to(at::kCPU));
  }

  /// Where a gradient is blamed and the prediction differentiates something itself, that is the reason.
  void name_the_optimiser(std::vector<CheckOutcome>& all) const {
    const auto of_the_gradient = [](const CheckOutcome& check) {
      return check.status == Status::failed &&
             (check.cause == Cause::zero || check.cause == Cause::shattered || check.cause == Cause::other_gradient);
    };
    if (std::none_of(all.begin(), all.end(), of_the_gradient)) return;
    const auto few = view_.sample.select(at::arange(std::min<int64_t>(view_.sample.size(), 2)));
    if (backward_passes_of([&] { view_.subject.predict(few.x, few.index); }) == 0) return;
    for (auto& check : all)
      if (of_the_gradient(check)) check.cause = Cause::optimiser;
  }

  const CheckView& view_;
  FirstFinds finds_;
  AttackingChecks attacks_;
  PredictionChecks predictions_;
  Tensor start_;              ///< [N,C,H,W] a random start of each image of the sample
  bool of_one_image_ = true;  ///< nothing found that the prediction depends on beside the image
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
  // Finite: one pass of each surrogate. Determinism and consistency: fourteen predictions at most.
  auto total = prediction * (sample * (surrogates + 14));
  if (!options.gradients || !options.differentiable) {
    if (options.level == "full") total += (budget_of(AttackingChecks::final_square()).passes + prediction) * n;
    return total;
  }
  // Every attack passes over the originals first. Zero gradients: two losses, each with the surrogate's prediction;
  // where they are zero, the margin of one surrogate too, and a look at what differentiates.
  const auto unbounded = budget_of(AttackingChecks::unbounded_attack()).passes + prediction,
             zero_gradients = (prediction + look) * 2;
  total += (unbounded + zero_gradients + Passes{0, 1}) * (sample * surrogates);
  total += (gradient_fidelity_passes() * 2 + still_rows_passes() + prediction * 2) * sample;
  total += (prediction * 3 + Passes{0, 1}) * sample;
  total += (budget_of(AttackingChecks::sampled_square()).passes + prediction * 2) * AttackingChecks::queried(n);
  total += (budget_of(AttackingChecks::sampled_fab()).passes + prediction * 2) * AttackingChecks::walked(n);
  if (options.level == "full") {
    total += (budget_of(AttackingChecks::convergence_attack()).passes + prediction) * (n * surrogates);
    total += (budget_of(AttackingChecks::final_square()).passes + prediction) * n;
  }
  return total;
}

}  // namespace hpm
