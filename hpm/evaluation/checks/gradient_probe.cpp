#include "hpm/evaluation/checks/gradient_probe.h"

#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "hpm/attacks/pgd.h"
#include "hpm/core/error.h"
#include "hpm/core/kept_generator_impl.h"

namespace hpm {
namespace {

/// The first line of an exception's text.
std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

std::string message_of(const std::exception& error) {
  const auto* from_torch = dynamic_cast<const c10::Error*>(&error);
  return first_line(from_torch ? from_torch->what_without_backtrace() : error.what());
}

}  // namespace

GradientProbe probe_gradient(const Classifier& classifier, const Images& sample) {
  using Kind = GradientProbe::Kind;
  const auto absent = [&](std::string reason) { return GradientProbe{Kind::absent, std::move(reason), sample.size()}; };
  const KeptGenerator kept;
  {
    torch::NoGradGuard guard;
    classifier.logits(sample.x);  // a model that cannot even do this is broken in another way: its error is not ours
  }
  try {
    const at::AutoGradMode gradients(true);
    const auto x = sample.x.detach().clone().requires_grad_();
    const auto logits = classifier.logits(x);
    if (!logits.requires_grad()) return absent("its logits are constants to automatic differentiation");
    const auto cross_entropy = at::cross_entropy_loss(logits, sample.y, {}, at::Reduction::Sum);
    for (const auto& loss : {cross_entropy, margin(logits, sample.y).sum()}) {
      const auto gradient = torch::autograd::grad({loss}, {x}, {}, true, false, true)[0];
      if (!gradient.defined()) return absent("its logits do not depend on the images differentiably");
      // NaN is no zero: other checks tell of it.
      if (gradient.ne(0).any().item<bool>()) return {Kind::present, {}, sample.size()};
    }
  } catch (const std::exception& error) {
    return absent("differentiating it fails: " + message_of(error));
  }
  return {Kind::zero, {}, sample.size()};
}

std::vector<std::string> require_gradient(const Classifier& classifier, const GradientProbe& probe,
                                          const std::string& protocol, bool stand_ins) {
  const auto& file = classifier.info().file;
  if (probe.kind == GradientProbe::Kind::zero)
    return {
        fmt::format("{}: the gradient of cross-entropy and of the margin is exactly zero for each of {} images: "
                    "attacks by gradient see nothing there",
                    file, probe.images)};
  if (probe.differentiable() || protocol.empty()) return {};
  require(stand_ins,
          "{} is not differentiable ({}), and --protocol {} needs its gradient; use --protocol autoattack --version "
          "custom --attacks square, or give msa a stand-in with --surrogate FILE.pt",
          file, probe.reason, protocol);
  return {fmt::format("{} is not differentiable ({}): it is attacked through stand-ins alone", file, probe.reason)};
}

Tensor blind_rows(AttackModel& model, const Images& images, LossKind kind) {
  const Loss loss{kind, images.y, {}};
  const auto right = model.surrogate_logits({images.x, images.index}).argmax(1).eq(images.y);
  const auto answer = model.ask({images.x, images.index}, &loss);
  return answer.gradient.abs().flatten(1).amax(1).eq(0) & answer.target_logits.argmax(1).eq(images.y) & right;
}

namespace {

/// z_t - z_y for the class t that is nearest to the true one.
Loss margin_to_runner_up(AttackModel& model, const Images& images) {
  auto logits = model.ask({images.x, images.index}, nullptr).target_logits;
  logits = logits.scatter(1, images.y.unsqueeze(1), -std::numeric_limits<double>::infinity());
  return {LossKind::difference, images.y, logits.argmax(1)};
}

}  // namespace

Tensor blind_rows_of_margin(AttackModel& model, const Images& images) {
  const auto answer_to = margin_to_runner_up(model, images);
  const auto answer = model.ask({images.x, images.index}, &answer_to);
  return answer.gradient.abs().flatten(1).amax(1).eq(0) & answer.target_logits.argmax(1).eq(images.y);
}

Tensor still_rows(AttackModel& model, const Images& images, const Tensor& start, const ThreatModel& threat) {
  auto here = images, there = images;
  here.x = start;
  const auto loss = margin_to_runner_up(model, here);
  const auto before = model.ask({here.x, here.index}, &loss);
  there.x = project(here.x + threat.eps / 4 * steepest_direction(before.gradient, threat.norm), images.x, threat);
  const auto after = model.ask({there.x, there.index}, nullptr).target_logits;
  return (loss_values(after, loss) - loss_values(before.target_logits, loss)).gt(0).logical_not();
}

int64_t backward_passes_of(const std::function<void()>& predict) {
  static std::atomic<int64_t> counted = 0;  // the callback takes no state; GPUs run backward on threads of their own
  const auto before = counted.load();
  const auto callback = at::addGlobalCallback(
      at::RecordFunctionCallback([](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> {
        ++counted;
        return nullptr;
      }).scopes({at::RecordScope::BACKWARD_FUNCTION}));
  try {
    predict();
  } catch (...) {
    at::removeCallback(callback);
    throw;
  }
  at::removeCallback(callback);
  return counted.load() - before;
}

bool attacks_ask_for_gradients(const std::vector<AttackSpec>& attacks) {
  return std::any_of(attacks.begin(), attacks.end(), [](const auto& spec) { return asks_for_gradients(spec.name); });
}

}  // namespace hpm
