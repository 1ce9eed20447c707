#include "hpm/attacks/pgd.h"

#include "hpm/attacks/attack_runs.h"
#include "hpm/attacks/finite_answers.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/core/transfer.h"

namespace hpm {

Tensor point_in_ball(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                     const Purpose& purpose) {
  const auto tail = images.x.sizes().slice(1);
  if (threat.norm == Norm::linf) {
    const auto u = uploaded(streams.uniform(images.index, purpose, tail), images.x.options());
    return at::clamp(images.x + threat.eps * (2 * u - 1), 0., 1.);
  }
  const auto noise = uploaded(streams.normal(images.index, purpose, tail), images.x.options());
  const Purpose of_radius{"pgd radius", purpose.restart, purpose.target};
  const auto radius = uploaded(streams.uniform(images.index, of_radius, {1}), images.x.options());
  const auto unit = noise / (per_row(norm_of_rows(noise, threat.norm), noise) + 1e-12);
  return project(images.x + per_row(radius.squeeze(1), unit) * threat.eps * unit, images.x, threat);
}

namespace {

/// The target's verdict on `x`, noted in `result` for the rows that are wrong.
void note(const Answer& answer, const Images& images, const Tensor& x, AttackResult& result) {
  const auto wrong = answer.target_logits.argmax(1).ne(images.y);
  if (!x.is_cpu()) {
    result.images = at::where(per_row(wrong, x), x, result.images);
  } else {
    const auto rows = places_of(wrong);
    if (rows.numel() > 0) result.images.index_copy_(0, rows, x.index_select(0, rows));
  }
  result.broken = result.broken | wrong;
}

}  // namespace

Tensor steepest_direction(const Tensor& gradient, Norm norm) {
  if (norm == Norm::linf) return gradient.sign();
  const auto known = gradient.nan_to_num(0., 0., 0.);  // where a gradient is not a number there is no direction
  if (norm == Norm::l2) return known / (per_row(norm_of_rows(known, Norm::l2), known) + 1e-12);
  const auto flat = known.abs().flatten(1);
  const auto kept = std::max<int64_t>(flat.size(1) / 100, 1);
  const auto threshold = std::get<0>(flat.topk(kept, 1)).select(1, -1);
  const auto sign = (known * known.abs().ge(per_row(threshold, known))).sign();
  return sign / (per_row(norm_of_rows(sign, Norm::l1), sign) + 1e-12);
}

void fields(Fields& f, PgdOptions& o) {
  f.add("step-size", o.step_size, "step length of pgd (none: eps / 4)", {.min = 0, .unit = "input range"});
  f.add("loss", o.loss, "loss of pgd", {.choices = {"ce", "dlr"}});
}

AttackBudget budget_of(const PgdOptions& options) {
  return {{options.restarts * (options.steps + 1), options.restarts * options.steps}, options.restarts * options.steps};
}

AttackResult pgd(AttackModel& model, const Images& images, const ThreatModel& threat, const PgdOptions& options,
                 const RandomStreams& streams, Monitor& monitor) {
  require(options.steps >= 1 && options.restarts >= 1, "pgd: needs steps >= 1 and restarts >= 1, but got {} and {}",
          options.steps, options.restarts);
  const double step = options.step_size.value_or(threat.eps / 4);
  const auto kind = parse_loss(options.loss);
  int64_t draw = 1;
  const RunPlan plan{.attack = "pgd", .restarts = options.restarts};
  return attack_in_runs(model, images, plan, streams, [&](AttackModel& finite, const AttackRun& run) -> RunFound {
    const auto& left = run.images;
    AttackResult found{left.x.clone(), at::zeros_like(left.y, at::kBool)};
    auto x = point_in_ball(left, threat, streams, {"pgd start", run.purpose().restart});
    const Loss loss{kind, left.y, {}};
    for (int64_t i = 0; i < options.steps; ++i) {
      const auto answer = finite.ask({x, left.index, draw++}, &loss);
      note(answer, left, x, found);
      x = project(x + step * steepest_direction(answer.gradient, threat.norm), left.x, threat);
      monitor.tick();
    }
    note(finite.ask({x, left.index, draw++}, nullptr), left, x, found);
    return {found.images, found.broken, {}, false};
  });
}

AttackResult fgsm(AttackModel& model, const Images& images, const ThreatModel& threat, LossKind kind) {
  const Loss loss{kind, images.y, {}};
  FiniteAnswers finite(model, "fgsm");
  const auto clean = finite.ask({images.x, images.index}, &loss);
  AttackResult result{images.x.clone(), clean.target_logits.argmax(1).ne(images.y)};
  const auto before = result.broken;
  const auto x = project(images.x + threat.eps * steepest_direction(clean.gradient, threat.norm), images.x, threat);
  note(finite.ask({x, images.index, 1}, nullptr), images, x, result);
  finite.finish();
  // Images that were wrong already stay as they are.
  result.images = at::where(per_row(before, images.x), images.x, result.images);
  return result;
}

Tensor pgd_training_images(AttackModel& model, const Images& images, const ThreatModel& threat, int64_t steps,
                           double step_size, const RandomStreams& streams, int64_t epoch) {
  auto x = point_in_ball(images, threat, streams, {"training start", epoch});
  const Loss loss{LossKind::ce, images.y, {}};
  for (int64_t i = 0; i < steps; ++i)
    x = project(x + step_size * steepest_direction(model.ask({x, images.index, i}, &loss).gradient, threat.norm),
                images.x, threat);
  return x;
}

}  // namespace hpm
