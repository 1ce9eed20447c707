#include "hpm/defences/attacked_defence.h"
#include "hpm/evaluation/run/evaluate_impl.h"

namespace hpm {
namespace {

/// The surrogates that the checks of a context look at: those marked for it, where they attacked; else the first
/// white-box one that did; else the leading one.
std::vector<Surrogate> checked_surrogates(const Defence& defence, size_t target, const ContextOutcome& outcome) {
  std::vector<Surrogate> attacked, checked;
  for (auto& surrogate : defence.surrogates(target, {.quick = false})) {
    const auto found = std::find_if(outcome.surrogates.begin(), outcome.surrogates.end(), [&](const auto& s) {
      return s.name == surrogate.name && s.unavailable.empty() && s.same_as.empty();
    });
    const bool ran = found != outcome.surrogates.end() && surrogate.kind == SurrogateKind::white_box;
    if (ran) attacked.push_back(surrogate);
    if (ran && surrogate.checked) checked.push_back(std::move(surrogate));
  }
  if (checked.empty() && !attacked.empty()) checked.push_back(attacked.front());
  return checked;
}

/// Whether a stand-in or another network broke what nothing before it had: the model's own gradient is not all that
/// the figure rests on. (One that found nothing excuses nothing.)
bool stand_ins_help(const ContextOutcome& outcome) {
  return std::any_of(outcome.surrogates.begin(), outcome.surrogates.end(), [](const auto& s) {
    const bool gradients = s.kind == SurrogateKind::white_box || s.kind == SurrogateKind::transfer;
    return gradients && !s.leads && s.first > 0 && s.unavailable.empty() && s.same_as.empty();
  });
}

/// False for a black box that queries alone attacked.
bool asked_for_gradients(const Evaluation& evaluation) {
  return std::any_of(evaluation.attacks.begin(), evaluation.attacks.end(),
                     [](const auto& attack) { return asks_for_gradients(attack.name); });
}

}  // namespace

void check_contexts(const Examined& e, const std::optional<ImageSet>& saved, Evaluation& evaluation) {
  auto& defence = e.defence;
  const auto& on = e.on;
  const auto start = std::chrono::steady_clock::now();
  for (size_t c = 0, t = 0; t < defence.targets().size() && c < evaluation.contexts.size(); ++t) {
    const auto& target = defence.targets()[t];
    if (target.beside) continue;
    const auto context = c++;
    if (target.same_as) continue;
    std::vector<std::unique_ptr<AttackModel>> views;
    const auto surrogates = checked_surrogates(defence, t, evaluation.contexts[context]);
    for (const auto& surrogate : surrogates)
      views.push_back(std::make_unique<AttackedDefence>(defence, t, surrogate));
    if (views.empty()) views.push_back(defence.attack_model(t));
    CheckSubject checked{*views.front(), target.coupling == Coupling::batch,
                         [&](const Tensor& x, const Tensor& index) {
                           return predict_once(defence, {x, index}, t);
                         }};
    if (!surrogates.empty()) checked.name = surrogates.front().name, checked.exact = surrogates.front().exact;
    for (auto beside : targets_beside(defence, t)) checked.votes |= defence.targets()[beside].draw;
    checked.stand_ins_help = stand_ins_help(evaluation.contexts[context]);
    for (size_t i = 1; i < surrogates.size(); ++i)
      checked.others.push_back({surrogates[i].name, views[i].get(), surrogates[i].stand_in});
    checked.context = context;
    if (target.coupling == Coupling::batch) checked.batches = batch_places(defence, on.images);
    auto settings = e.options.for_checks();
    settings.gradients = asked_for_gradients(evaluation);
    settings.differentiable = e.subject.differentiable;
    checked.saved = saved;
    auto lines = run_checks(checked, on, evaluation, settings, e.work);
    std::move(lines.begin(), lines.end(), std::back_inserter(evaluation.checks));
  }
  evaluation.checks_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace hpm
