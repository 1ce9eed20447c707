#include "hpm/evaluation/checks/attacking_checks_impl.h"

namespace hpm {
namespace {

// Attacks leave some images of an honest model to FAB-T too. So FAB-T may break a part of a sample: a tenth where MSA
// attacked; after a short PGD a quarter, and so many images as would take these points of all images. Where the gradient
// of the loss leads nowhere, it breaks most of them.
constexpr double kPartAfterMsa = .1, kPartAfterPgd = .25, kPointsAfterPgd = 5;

template <class Check>
CheckOutcome finite_or_failed(const std::string& name, Check check) {
  try {
    return check();
  } catch (const NotFinite& error) {
    return {name, CheckOutcome::Status::failed, {}, {}, "", error.what()};
  }
}

}  // namespace

AttackingChecks::Unbounded AttackingChecks::unbounded() const {
  if (!view_.has_gradients()) return {view_.without_gradients("unbounded"), {}};
  auto images = view_.sample.x.clone();
  auto check = finite_or_failed("unbounded", [&] {
    const double eps = view_.threat.norm == Norm::linf ? 1.
                       : view_.threat.norm == Norm::l2 ? std::sqrt(view_.dims())
                                                       : view_.dims();
    auto left = at::arange(view_.sample.size());
    for (const auto& surrogate : view_.surrogates) {
      const auto rows = view_.coupled ? at::arange(view_.sample.size()) : left;
      const auto found = apgd(*surrogate.model, view_.sample.select(rows), {view_.threat.norm, eps}, unbounded_attack(),
                              view_.streams, view_.monitor);
      images.index_copy_(0, rows.to(images.device()), found.images);
      const auto stands = found.broken.logical_not().to(at::kCPU);
      left = left.index({view_.coupled ? stands.index_select(0, left) : stands});
      if (left.numel() == 0) break;
    }
    const auto share = 100. * static_cast<double>(left.numel()) / static_cast<double>(view_.sample.size());
    return showing(Cause::masked, judged("unbounded", share, 1, "%",
                                         fmt::format("APGD-CE with eps = {:.3g} left {:.1f} % of {} images", eps, share,
                                                     view_.sample.size())));
  });
  return {std::move(check), images};
}

CheckOutcome AttackingChecks::convergence() const {
  return finite_or_failed("convergence", [&]() -> CheckOutcome {
    if (!view_.has_gradients()) return view_.without_gradients("convergence");
    std::vector<AttackModel*> all;
    for (const auto& surrogate : view_.surrogates) all.push_back(surrogate.model);
    const auto options = convergence_attack();
    const auto [broken, survivors] =
        survivors_broken_by("convergence", all, [&](AttackModel& view, const Images& part) {
          return apgd(view, part, view_.threat, options, view_.streams, view_.monitor).broken;
        });
    const auto share = survivors ? 100. * static_cast<double>(broken) / static_cast<double>(survivors) : 0.;
    return showing(Cause::masked, judged("convergence", share, 1, "% of the survivors",
                                         fmt::format("APGD-CE with {} iterations broke {} of {} survivors",
                                                     options.steps, broken, survivors)));
  });
}

CheckOutcome AttackingChecks::square_after_white_box() const {
  return finite_or_failed("Square after white-box", [&]() -> CheckOutcome {
    const auto own = finds_.of_square();
    if (view_.options.level != "full")
      return showing(Cause::masked,
                     judged("Square after white-box", view_.points(own), .2, "points",
                            fmt::format("the evaluation's Square broke {} of {} images", own, view_.images.size())));
    const auto options = final_square();
    const auto [broken, survivors] = survivors_broken_by(
        "Square after white-box", {&view_.subject.attacked}, [&](AttackModel& model, const Images& part) {
          return square(model, part, view_.threat, options, view_.streams, view_.monitor).broken;
        });
    return showing(Cause::masked, judged("Square after white-box", view_.points(own + broken), .2, "points",
                                         fmt::format("the evaluation's Square broke {}, then {} queries {} of {} "
                                                     "survivors",
                                                     own, options.queries, broken, survivors)));
  });
}

CheckOutcome AttackingChecks::square_on_a_sample() const {
  const std::string name = "Square on a sample";
  if (!view_.options.gradients || view_.coupled || view_.threat.eps == 0)
    return CheckView::not_run(name, "it follows attacks by gradient on single images");
  if (view_.evaluation.fast && !view_.evaluation.fast->stages.empty())
    return CheckView::not_run(name, "the alarm \"Square comes nearer\" looks for it");
  const auto options = sampled_square();
  const Sampled check{name, fmt::format("{} queries", options.queries), queried, [](double, double) { return 1.; }};
  return on_a_sample(check, [&](const Images& images) {
    return square(view_.subject.attacked, images, view_.threat, options, view_.streams, view_.monitor);
  });
}

CheckOutcome AttackingChecks::fab_on_a_sample() const {
  const std::string name = "FAB on a sample";
  if (!view_.has_gradients()) return view_.without_gradients(name);
  if (view_.coupled || view_.threat.eps == 0 || view_.subject.attacked.random())
    return CheckView::not_run(name, "it follows attacks on single images of a deterministic model");
  const auto options = sampled_fab();
  const auto most = [&](double sample, double survivors) {
    if (!view_.outcome().surrogates.empty()) return kPartAfterMsa * sample;
    const double points = kPointsAfterPgd / 100 * static_cast<double>(view_.images.size());
    return std::max(kPartAfterPgd * sample, points * sample / std::max(survivors, 1.));
  };
  const Sampled check{name, fmt::format("FAB-T with {} steps towards {} classes", options.steps, options.targets),
                      walked, most};
  return on_a_sample(check, [&](const Images& images) {
    return fab(view_.subject.attacked, images, view_.threat, options, view_.streams, view_.monitor);
  });
}

CheckOutcome AttackingChecks::on_a_sample(const Sampled& check, const SampledAttack& attack) const {
  return finite_or_failed(check.name, [&]() -> CheckOutcome {
    const auto survivors = view_.outcome().robust.nonzero().squeeze(1);
    const auto count = check.count(survivors.numel());
    if (count == 0) return CheckView::not_run(check.name, "no image survived");
    // Evenly spread, so that images sorted by class are sampled fairly.
    const auto rows = survivors.index_select(0, at::arange(count).mul(survivors.numel()).floor_divide(count));
    const auto done =
        view_.log.once(fmt::format("check/{}/{}", view_.outcome().context, check.name), rows, [&]() -> NamedTensors {
          const auto images = view_.images.select(rows);
          const auto found = attack(images);
          const auto again = view_.subject.predict(found.images, images.index).argmax(1).ne(images.y);
          return {{"broken", (found.broken & again).sum().to(at::kCPU)}};
        });
    const auto broken = find_tensor(done, "broken").item<int64_t>();
    const auto limit = std::max(1., check.most(static_cast<double>(count), static_cast<double>(survivors.numel())));
    return showing(Cause::masked, judged(check.name, static_cast<double>(broken), limit, "images",
                                         fmt::format("{} broke {} of {} survivors", check.words, broken, count)));
  });
}

AttackingChecks::Broken AttackingChecks::survivors_broken_by(const std::string& name,
                                                             const std::vector<AttackModel*>& models,
                                                             const Attack& attack) const {
  const auto robust = view_.outcome().robust;
  const auto survivors = robust.nonzero().squeeze(1);
  int64_t broken = 0, seen = 0;
  view_.monitor.begin("check: " + name, survivors.numel(), "images");
  const auto look = [&](const Tensor& rows, auto count) {
    const auto key = fmt::format("check/{}/{}/{}", view_.outcome().context, name, seen);
    const auto done = view_.log.once(key, rows, [&]() -> NamedTensors {
      const auto part = view_.images.select(rows);
      std::vector<Tensor> wrong;
      for (auto* model : models) wrong.push_back(attack(*model, part).to(at::kCPU));
      return {{"broken", count(at::stack(wrong))}};
    });
    broken += find_tensor(done, "broken").template item<int64_t>();
    seen += rows.numel();
    view_.monitor.step(std::min(seen, survivors.numel()), fmt::format("{} broken", broken));
  };
  if (view_.coupled) {
    for (const auto& rows : view_.subject.batches)
      look(rows, [&](const Tensor& wrong) {
        const auto right_before = robust.index_select(0, rows).sum(), right_now = wrong.logical_not().sum(1).min();
        return at::relu(right_before - right_now);
      });
  } else {
    for (int64_t begin = 0; begin < survivors.numel(); begin += view_.options.batch_size)
      look(survivors.slice(0, begin, begin + view_.options.batch_size),
           [](const Tensor& wrong) { return wrong.any(0).sum(); });
  }
  view_.monitor.end();
  return {broken, survivors.numel()};
}

}  // namespace hpm
