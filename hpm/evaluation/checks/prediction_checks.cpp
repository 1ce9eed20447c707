#include "hpm/evaluation/checks/prediction_checks_impl.h"

namespace hpm {
namespace {

using Status = CheckOutcome::Status;

constexpr double kRounding = 1e-2;  // of a row's spread of logits: a change by more is none of rounding
constexpr double kVotes = 1.5;      // of a random model: two of its draws predict something else

/// [N] bool.
Tensor moved(const Tensor& before, const Tensor& after) {
  return (before - after).abs().amax(1).gt(kRounding * (before.amax(1) - before.amin(1)));
}

}  // namespace

Tensor PredictionChecks::logits_of(const Tensor& x, const Tensor& rows) const {
  const auto numbers = view_.sample.index.index_select(0, rows.to(view_.sample.index.device()));
  return view_.subject.predict(x, numbers).to(at::kCPU);
}

CheckOutcome PredictionChecks::determinism() const {
  const auto all = at::arange(view_.sample.size());
  const auto once = logits_of(view_.sample.x, all), again = logits_of(view_.sample.x, all);
  // A few images may keep their predictions by chance: logits tell of random numbers too.
  const auto differ = (once.argmax(1).ne(again.argmax(1)) | moved(once, again)).sum().item<int64_t>();
  const auto changed = static_cast<double>(differ);
  if (view_.subject.attacked.random())
    return {"determinism", Status::reported, changed, {}, "images", "the model is declared random"};
  return showing(Cause::random,
                 judged("determinism", changed, 0, "images",
                        fmt::format("{} of {} predictions differ when repeated", differ, view_.sample.size())));
}

CheckOutcome PredictionChecks::consistency_of_draws() const {
  const std::string name = "consistency";
  const int64_t n = view_.sample.size(), kept = n / 2;
  if (n < 3 || view_.subject.batch_dependent) return CheckView::not_run(name, "the model is declared random");
  const auto all = at::arange(n);
  const auto once = logits_of(view_.sample.x, all);
  if (moved(once, logits_of(view_.sample.x, all)).any().item<bool>())
    return CheckView::not_run(name, "the model draws other numbers when it is asked again");
  const auto order = at::cat({all.slice(0, 0, kept), all.slice(0, kept).flip(0)});
  const auto seen = logits_of(view_.sample.select(order).x, order);
  const auto change = (seen - once.index_select(0, order)).abs().amax(1).slice(0, 0, kept);
  const auto count = change.gt(kVotes).sum().item<int64_t>();
  return showing(Cause::batch, judged(name, static_cast<double>(count), 0, "images",
                                      fmt::format("{} of {} predictions change when the images behind them in the "
                                                  "batch change places",
                                                  count, kept)));
}

CheckOutcome PredictionChecks::consistency(const Tensor& adversarial) const {
  if (view_.subject.attacked.random()) return consistency_of_draws();
  const int64_t n = view_.sample.size(), half = (n + 1) / 2;
  const auto all = at::arange(n);
  auto changed = at::zeros({n}, at::kBool);
  const auto note = [&](const Tensor& rows, const Tensor& differs) {
    changed.index_fill_(0, rows.index_select(0, differs.nonzero().squeeze(1)), true);
  };
  const auto logits = logits_of(view_.sample.x, all);
  const auto compare = [&](const Tensor& rows) {
    const auto before = logits.index_select(0, rows), after = logits_of(view_.sample.select(rows).x, rows);
    auto differs = before.argmax(1).ne(after.argmax(1));
    if (!view_.subject.votes) differs = differs | moved(before, after);
    note(rows, differs);
  };
  compare(all.flip(0));
  compare(all.slice(0, 0, half));
  compare(at::cat({all, all}));
  compare(at::cat({all, at::zeros({5}, at::kLong)}));
  // The other half of the batch are other versions of the images. One beside the boundary of two classes may change its
  // prediction by rounding: logits alone count.
  const auto compare_beside = [&](const Tensor& others) {
    const auto& x = view_.sample.x;
    const auto halves = [half](const Tensor& a, const Tensor& b) {
      return at::cat({a.slice(0, 0, half), b.slice(0, half)});
    };
    const auto other_logits = logits_of(others, all);
    note(all, moved(halves(logits, other_logits), logits_of(halves(x, others), all)));
    note(all, moved(halves(other_logits, logits), logits_of(halves(others, x), all)));
  };
  if (!view_.subject.votes && n > 1) {
    compare_beside(1 - view_.sample.x);
    if (adversarial.defined()) compare_beside(adversarial);
  }
  const auto count = changed.sum().item<int64_t>();
  auto detail = fmt::format(
      "{} of {} predictions change when the batch is permuted, split, duplicated or padded, or holds inverted or "
      "adversarial images",
      count, n);
  if (view_.subject.batch_dependent)
    return {"consistency", Status::reported, static_cast<double>(count), {}, "images", detail + " (expected here)"};
  return showing(Cause::batch, judged("consistency", static_cast<double>(count), 0, "images", detail));
}

}  // namespace hpm
