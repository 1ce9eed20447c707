#include <algorithm>

#include "hpm/attacks/quantise.h"
#include "hpm/core/error.h"
#include "hpm/core/kept_generator_impl.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/evaluation/checks/gradient_probe.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/evaluation/run/evaluate_impl.h"

namespace hpm {
namespace {

constexpr int64_t kProbed = 16;  // images whose gradient is looked at

std::vector<AttackSpec> attacks_on(Defence& defence, const ThreatModel& threat, const EvaluationOptions& options) {
  std::vector<AttackSpec> all;
  if (options.is("autoattack")) all = sequence_of(options.for_autoattack(), threat.norm, defence.classes()).attacks;
  if (options.is("fast"))
    for (const char* name : {"relaxation", "apgd-t"}) all.push_back({.name = name});
  if (options.is("msa"))
    for (auto t : attacked_targets(defence))
      for (const auto& step : msa_plan(defence, t, threat.norm, options.for_msa()))
        if (step.runs()) all.insert(all.end(), step.attacks.begin(), step.attacks.end());
  return all;
}

/// Whether images that were made for another network are tried.
bool has_peers(const Defence& defence) {
  const auto all = defence.surrogates(0, {.quick = false});
  return std::any_of(all.begin(), all.end(), [](const auto& surrogate) {
    return surrogate.kind == SurrogateKind::transfer && surrogate.unavailable.empty();
  });
}

FastCost fast_cost_of(Defence& defence, Norm norm, const EvaluationOptions& options, int64_t images) {
  return fast_cost(options.for_fast(), norm, defence.classes(), images, has_peers(defence));
}

/// Image passes of the protocol on one defence, for an image that survives everything, at most.
Passes protocol_passes(Defence& defence, const ThreatModel& threat, const EvaluationOptions& options, int64_t images) {
  if (options.is("msa")) return msa_passes(defence, threat.norm, options.for_msa());
  if (options.is("fast")) return fast_cost_of(defence, threat.norm, options, images).most;
  Passes total{1, 0};
  if (options.is("pgd")) {
    total = Passes{2, 0} + budget_of(options.for_pgd()).passes;
  }
  for (const auto& spec : attacks_on(defence, threat, options)) total += passes_of(spec);
  return total;
}

/// Of all images together, spread over `n` of them.
void add_spread(const Passes& passes, int64_t n, Passes& total) {
  total.forward += (passes.forward + n - 1) / n, total.backward += (passes.backward + n - 1) / n;
}

/// The checks of a defence, and its study of colluders.
void add_checks(Defence& defence, const EvaluationOptions& options, int64_t n, Passes& total) {
  for (auto t : attacked_targets(defence)) {
    const auto all = defence.surrogates(t, {.quick = false});
    const auto count = [&](auto chosen) { return static_cast<int64_t>(std::count_if(all.begin(), all.end(), chosen)); };
    const auto views = options.is("msa") ? std::max<int64_t>(count([](const auto& s) { return s.checked; }), 1) : 1;
    add_spread(check_passes(options.for_checks(), n, views), n, total);
    if (defence.targets()[t].coupling == Coupling::batch && options.is("msa")) {
      const auto company = std::min(options.company, n);
      const auto crowd = static_cast<int64_t>(crowd_surrogates(defence, t).size());
      const auto msa = options.for_msa();
      add_spread(collusion_passes(msa.collusion, company, crowd), n, total);
      const bool may_escalate = msa.version == "fast" && !msa.alarms.no_escalate;
      total += benign_passes(msa.benign, may_escalate ? "standard" : msa.version, company, crowd);
    }
  }
  add_spread(self_test_passes(defence, options.radii().front().norm, options, n), n, total);
}

/// Whether logits [N,K] differ by more than rounding.
bool differ(const Tensor& a, const Tensor& b) { return rows_that_differ(a, b, 1e-3).any().item<bool>(); }

/// Looks whether a model without a head is what its options say: deterministic, and independent of its batch.
void probe_answers(const EvaluationInput& input, const EvaluationOptions& options, const Images& sample,
                   EvaluationPlan& plan) {
  if (input.model.head || input.defence || sample.size() < 2) return;
  const KeptGenerator kept;
  torch::NoGradGuard guard;
  const auto& classifier = input.model.classifier;
  const auto once = classifier.logits(sample.x);
  const bool random = differ(once, classifier.logits(sample.x));
  if (random && !options.random)
    plan.notes.push_back(fmt::format(
        "{} gives other logits when the same images are asked again: it draws random numbers, and attacks on one draw "
        "tell little of the next; give --random (with --protocol msa, or autoattack --version rand)",
        classifier.info().file));
  if (!random && options.random)
    plan.notes.push_back(
        fmt::format("{} gives the same logits when asked again: --random costs many times the passes and changes "
                    "nothing",
                    classifier.info().file));
  if (random) return;
  const bool coupled = differ(once.slice(0, 0, 1), classifier.logits(sample.x.slice(0, 0, 1)));
  if (coupled && !options.coupled())
    plan.notes.push_back(fmt::format(
        "{} gives an image other logits in another batch: attacks on single images do not measure it; give --protocol "
        "msa --coupling batch",
        classifier.info().file));
  if (!coupled && options.coupled())
    plan.notes.push_back(
        fmt::format("{} gives an image the same logits in every batch: --coupling batch costs more and changes nothing",
                    classifier.info().file));
}

/// Asks every surrogate of the user's own once: logits of another shape are an error before anything is attacked.
void probe_surrogates(const EvaluationInput& input, const EvaluationOptions& options, const Images& sample) {
  if (input.surrogates.empty()) return;
  Subject subject{input.model, options.for_defence(), "", true};
  const auto defence = subject.make(sample, {options.evaluated_contexts().front()}, {});
  for (const auto& surrogate : input.surrogates) {
    if (!surrogate.logits) continue;
    AttackedDefence attacked(*defence, 0, surrogate);
    const auto logits = attacked.surrogate_logits({sample.x, sample.index});
    require(logits.dim() == 2 && logits.size(0) == sample.size() && logits.size(1) == defence->classes(),
            "surrogate {}: needs to give logits [{},{}] for {} images, but gives [{}]", surrogate.name, sample.size(),
            defence->classes(), sample.size(), fmt::join(logits.sizes(), ","));
  }
}

/// Looks once whether the models have gradients, and refuses attacks that need one where there is none.
void probe(const EvaluationInput& input, const EvaluationOptions& options, const ImageSet& images,
           EvaluationPlan& plan) {
  const auto sample = images.slice(0, std::min<int64_t>(images.size(), kProbed));
  const auto threat = options.radii().front();
  const auto look = [&](const HpmModel& model, bool stand_ins) {
    const auto found = probe_gradient(model.classifier, sample);
    Subject subject{model, options.for_defence(), "", true};
    if (&model == &input.model) subject.maker = input.defence;
    const auto defence = subject.make(sample, {options.contexts.front()}, {});
    const bool asks = options.is("pgd") || attacks_ask_for_gradients(attacks_on(*defence, threat, options));
    for (const auto& line : require_gradient(model.classifier, found, asks ? options.protocol : "", stand_ins))
      plan.notes.push_back(line);
    return found.differentiable();
  };
  const bool peers = (input.peers.base || input.peers.control) && options.msa.surrogates.empty();
  const bool stand_ins = options.is("msa") && !input.model.head && (peers || !input.surrogates.empty());
  plan.differentiable = look(input.model, stand_ins);
  for (const auto* peer : {&input.peers.base, &input.peers.control})
    if (*peer) look({*peer, std::nullopt}, false);
}

/// A defence of the user's own has contexts and batches of its own.
std::vector<UnusedOption> unused_options(const EvaluationInput& input, const EvaluationOptions& options) {
  const bool peers = input.peers.base || input.peers.control;
  auto all = check_options(options, {input.model.head.has_value(), input.defence != nullptr, peers});
  if (input.defence)
    std::erase_if(all, [](const auto& option) { return option.name == "company" || option.name == "company-sizes"; });
  return all;
}

}  // namespace

EvaluationPlan plan_evaluation(const EvaluationInput& input, const EvaluationOptions& options) {
  require_images(input.index, "plan_evaluation");
  EvaluationPlan plan;
  plan.unused = unused_options(input, options);
  const auto radii = options.radii();
  for (const auto& line : threat_warnings(radii)) plan.notes.push_back(line);
  for (const auto& line : setting_notes(options)) plan.notes.push_back(line);
  const auto images = image_set(input.data, input.index, input.model.classifier.device());
  if (options.is("msa") && options.has_context("joint"))
    check_colluders(options.for_msa().collusion, std::min(options.company, images.size())),
        check_malicious(options.for_msa().benign, std::min(options.company, images.size()));
  if (options.quantise)  // refuses images that are not 8-bit before the work
    for_chunks(images, options.compute.batch_size,
               [&](const Images& chunk, int64_t) { quantised(chunk.x, chunk.x, radii.front()); });
  plan.radii = std::max<int64_t>(
      std::count_if(radii.begin(), radii.end(), [](const auto& radius) { return radius.eps > 0; }), 1);
  plan.passes = {1, 0};
  if (!options.attacks_anything()) return plan;
  probe(input, options, images, plan);
  const auto few = images.slice(0, std::min<int64_t>(images.size(), kProbed));
  probe_answers(input, options, few, plan);
  probe_surrogates(input, options, few);
  // The plan of a few images is that of all: only contexts and surrogates count.
  const auto sample = images.subset(at::arange(std::min<int64_t>(images.size(), kProbed)));
  const auto add = [&](const HpmModel& model, const Peers& peers, bool attacked) {
    Subject subject{model, options.for_defence(), "", plan.differentiable};
    subject.defence.peers = peers;
    if (&model == &input.model) {
      subject.defence.more_surrogates = input.surrogates, subject.defence.own_surrogates = input.hpm_surrogates;
      subject.maker = input.defence, subject.composed_maker = input.composed;
    } else {
      subject.differentiable = true;
    }
    const auto defence = subject.make(sample, options.evaluated_contexts(), {});
    if (attacked) {
      plan.passes += protocol_passes(*defence, radii.front(), options, images.size());
      if (options.is("fast"))
        plan.usual =
            plan.usual.value_or(Passes{}) + fast_cost_of(*defence, radii.front().norm, options, images.size()).usual;
      add_checks(*defence, options, images.size(), plan.passes);
      if (&model == &input.model)
        plan.passes += composition_passes(subject, sample, radii.front().norm, options, images.size());
    }
  };
  plan.passes = {0, 0};
  add(input.model, input.peers, true);
  for (const auto* peer : {&input.peers.base, &input.peers.control})
    if (*peer) add({*peer, std::nullopt}, {}, !options.transfer_only);
  if (!plan.differentiable) plan.passes.backward = 0;  // stand-ins alone have any
  return plan;
}

}  // namespace hpm
